"""markdown - a run's rows as tables in a document, with the machine and the date"""
import os
import platform
import time

INTRO = """# Performance

Tables by `make bench`: ours and the peer in whole processes, run in turn, medians of the rounds. The
ratio is ours by the peer's; beside it stands the ratio of CPU seconds of the whole processes, and how
many CPUs others used meanwhile. Times depend on the machine: compare within a row.
"""
SIDES = ("ours", "peer")


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        cpu = next((line.split(":")[1].strip() for line in f if line.startswith("model name")),
                   platform.machine())
    system = platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    return (f"{time.strftime('%Y-%m-%d')}: {cpu}, {os.cpu_count()} CPUs, {system}, "
            f"Linux {platform.release()}.")


def number(value):
    return "" if value is None else f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def table(head, lines):
    cells = [head, ["---"] * len(head), *lines]
    return "".join("| " + " | ".join(line) + " |\n" for line in cells)


def cycles(row):
    return " / ".join(number(row.get(side + "_gc_cycles")) for side in SIDES)


def rows_table(rows):
    lines = []
    for row in rows:
        said = {True: "met", False: "MISSED"}.get(row["ok"], "")
        goal = " ".join(x for x in (row["goal"], said, row.get("published")) if x)
        lines.append([row["name"], f"{number(row['ours'])} {row['unit']}",
                      f"{number(row['peer'])} {row['unit']}", row["peer_name"] or "",
                      number(row["ratio"]), goal, number(row.get("ratio_cpu")), cycles(row),
                      number(row.get("others_cpus"))])
    return table(["row", "ours", "peer", "", "ratio", "goal", "ratio of CPU", "GC cycles", "others' CPUs"],
                 lines)


def columns_table(rows):
    """Rows that say more than one figure of each side."""
    head = list(rows[0]["columns"]["ours"])
    lines = [[row["name"], row["peer_name"] if side == "peer" else "ours",
              *(number(row["columns"][side][key]) for key in head),
              row.get("published", "") if side == "peer" else ""]
             for row in rows for side in SIDES]
    return table(["row", "", *head, ""], lines)


def section(rows):
    wide = [row for row in rows if "columns" in row]
    text = machine() + "\n\n" + rows_table(rows)
    return text + ("\n" + columns_table(wide) if wide else "")


def marks(family):
    return f"<!-- {family}.*: begin -->\n", f"<!-- {family}.*: end -->\n"


def put(text, family, body):
    begin, end = marks(family)
    new = f"{begin}{body}{end}"
    if begin not in text:
        return text + f"\n## {family}\n\n{new}"
    before, _, rest = text.partition(begin)
    return before + new + rest.partition(end)[2]


def write_sections(path, bodies):
    """Puts each family's text in place of what the document says of it."""
    text = INTRO
    if os.path.exists(path):
        with open(path, encoding="utf-8") as f:
            text = f.read()
    for family, body in bodies.items():
        text = put(text, family, body)
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)


def write(path, rows):
    """The rows' families' tables."""
    families = dict.fromkeys(row["name"].partition(".")[0] for row in rows)
    write_sections(path, {family: section([r for r in rows if r["name"].startswith(family + ".")])
                          for family in families})
