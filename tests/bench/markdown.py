"""markdown - a run's rows as tables in a document, with the machine and the date

A run of some rows replaces those: the others of the tables stay, with the day on which they were measured.
"""
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


ROW_HEAD = ["row", "ours", "peer", "", "ratio", "goal", "ratio of CPU", "GC cycles", "others' CPUs", "on"]


def lines_of(body, head):
    """The cells of each line of the table with that head, which may end in others; none: no such table."""
    found, inside = [], False
    for line in body.splitlines():
        cells = line[2:-2].split(" | ") if line.startswith("| ") else []
        if not cells or cells[0] == "row":
            inside = cells[:2] == head[:2] and len(cells) >= len(head) - 1
        elif inside and cells[0] != "---":
            found.append(cells)
    return found


def merged(old, new):
    """New lines in the places of old ones of the same row, the rest of them at the end."""
    names, lines = {cells[0] for cells in new}, []
    for cells in old:
        if cells[0] not in names:
            lines.append(cells)
        elif cells[0] not in {line[0] for line in lines}:
            lines += [line for line in new if line[0] == cells[0]]
    return lines + [line for line in new if line[0] not in {cells[0] for cells in old}]


def rows_table(rows, old):
    day, lines = old[:10], []
    for row in rows:
        said = {True: "met", False: "MISSED"}.get(row["ok"], "")
        goal = " ".join(x for x in (row["goal"], said, row.get("published")) if x)
        lines.append([row["name"], f"{number(row['ours'])} {row['unit']}",
                      f"{number(row['peer'])} {row['unit']}", row["peer_name"] or "",
                      number(row["ratio"]), goal, number(row.get("ratio_cpu")), cycles(row),
                      number(row.get("others_cpus")), time.strftime("%Y-%m-%d")])
    before = [[*cells, day][:len(ROW_HEAD)] for cells in lines_of(old, ROW_HEAD)]
    return table(ROW_HEAD, merged(before, lines))


def columns_table(rows, old):
    """Rows that say more than one figure of each side."""
    head = list(rows[0]["columns"]["ours"])
    lines = [[row["name"], row["peer_name"] if side == "peer" else "ours",
              *(number(row["columns"][side][key]) for key in head),
              row.get("published", "") if side == "peer" else ""]
             for row in rows for side in SIDES]
    head = ["row", "", *head, ""]
    return table(head, merged(lines_of(old, head), lines))


def section(rows, old):
    """old: what the section has said."""
    wide = [row for row in rows if "columns" in row]
    text = machine() + "\n\n" + rows_table(rows, old)
    if wide:
        return text + "\n" + columns_table(wide, old)
    return text + old[old.find("\n\n| row |  |") + 1:] if "\n\n| row |  |" in old else text


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


def said(path, family):
    if not os.path.exists(path):
        return ""
    begin, end = marks(family)
    with open(path, encoding="utf-8") as f:
        return f.read().partition(begin)[2].partition(end)[0]


def write(path, rows):
    """The rows into the tables of their families."""
    families = dict.fromkeys(row["name"].partition(".")[0] for row in rows)
    write_sections(path, {family: section([r for r in rows if r["name"].startswith(family + ".")],
                                          said(path, family))
                          for family in families})
