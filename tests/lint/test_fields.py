#!/usr/bin/python3
"""Every field that a manifest may have is read by what acts on it.

The compiler says who reads: in a copy of the sources each struct member that a field table fills is
marked deprecated, and every use is a warning that names it. A use in the table itself, in a parser,
in a rule between fields, or one that only writes, is no reader.
"""
import concurrent.futures
import json
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import unittest

import harness

PATIENT = True

TABLE = re.compile(r"static const struct field (\w+)\[\]\s*=\s*{")
OFFSET = re.compile(r"__builtin_offsetof\s*\(\s*struct\s+(\w+)\s*,\s*([\w.]+)\s*\)")
STORED_NOWHERE = {"FIELD_OBJECT", "FIELD_IGNORED", "FIELD_REFUSED"}
# Read by the rule alone, which is all that there is to do.
DECIDED_BY_RULE = {
    "experiment.api_version": "any other than the kind's own is an error",
    "experiment.generate_name": "becomes the name",
    "fault_spec.tolerance": "becomes the kind's own",
    "fault_common.tolerance": "handed to effect_compare() by each kind",
    "lab_document.api_version": "any other than the kind's own is an error",
    "lab_document.kind": "chooses the table",
    "cpu_params.action": "there is one",
    "pod_kill_params.action": "any but pod-kill is an error",
    "lab_container.image": "a process has none: accepted as Kubernetes' own",
    "lab_container.pull_policy": "a process has none: accepted as Kubernetes' own",
    "lab_deployment_spec.replicas": "the binder makes so many pods",
    "lab_http_get.scheme": "any but HTTP is an error",
    "lab_label_selector.match_labels": "must be the template's labels",
    "lab_metadata.name": "the binder names the pods by it",
    "lab_port.protocol": "any but TCP and UDP is an error",
}
USE = re.compile(r"^(.*?):(\d+):\d+: warning: .* is deprecated: (\w+\.(\w+) in \S+)")
FUNCTION = re.compile(r"In function .(\w+).:")


def closing(text, start):
    """The place of the brace that closes the one at start."""
    depth = 0
    for i in range(start, len(text)):
        depth += (text[i] == "{") - (text[i] == "}")
        if depth == 0:
            return i
    raise ValueError("a brace stays open")


def without_braces_in_texts(text):
    return re.sub(r'"(\\.|[^"\\\n])*"', lambda m: re.sub("[{}]", "_", m[0]), text)


def rows_of(table):
    """Texts of the rows of one table, braces off."""
    i = 0
    while (i := table.find("{", i)) >= 0:
        end = closing(table, i)
        yield table[i + 1:end]
        i = end + 1


class Tree:
    """A copy of lib and cmd in which members can be marked."""

    def __init__(self, folder):
        self.folder = folder
        for part in ("lib", "cmd"):
            shutil.copytree(os.path.join(harness.SOURCE, part), os.path.join(folder, part))
        commands = json.load(open(os.path.join(harness.BUILD, "compile_commands.json")))
        self.commands = {}
        for c in commands:
            if re.match(r"\.\./(lib|cmd/brunt)/", c["file"]):
                self.commands[c["file"][3:]] = self.arguments(c)
        self.files = [os.path.join(at, name) for at, _, names in os.walk(folder)
                      for name in names if name.endswith((".c", ".h"))]

    def arguments(self, command):
        args = [a for a in shlex.split(command["command"])
                if not re.match(r"-(W|M|f(diag|sani))", a) and a not in ("ccache", "-c", "-O2", "-g")]
        for option in ("-o", "-MF", "-MQ"):
            if option in args:
                del args[args.index(option):args.index(option) + 2]
        args = [a for a in args if not a.endswith((".o", ".d"))]
        return [re.sub(r"^(-I)?\.\.(/|$)", lambda m: f"{m[1] or ''}{self.folder}{m[2]}", a)
                for a in args]

    def gcc(self, file, *options):
        return subprocess.run([*self.commands[file], *options], cwd=harness.BUILD, text=True,
                              capture_output=True, env=dict(os.environ, LC_ALL="C"))

    def map(self, work, files):
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            return list(pool.map(work, files))

    def struct_body(self, name, near):
        """(path, start, end) of what stands between the braces of struct NAME, in the file near if
        it is there, else in its folder: two files may each have one of that name."""
        pattern = re.compile(rf"\bstruct {name}\s*{{")
        folder = os.path.dirname(near)
        for path in sorted(self.files, key=lambda f: (f != near, os.path.dirname(f) != folder, f)):
            text = open(path).read()
            found = pattern.search(text)
            if found:
                return path, found.end(), closing(text, found.end() - 1)
        raise AssertionError(f"struct {name} is defined nowhere")

    def resolve(self, struct, member, near):
        """(path, struct, member) of what an offset ends in, through "selection.mode"."""
        near, start, end = self.struct_body(struct, near)
        while "." in member:
            first, member = member.split(".", 1)
            body = open(near).read()[start:end]
            struct = re.search(rf"struct (\w+)(?:\s*{{[^}}]*}})?[^;{{}}]*\b{first}\b", body)[1]
            near, start, end = self.struct_body(struct, near)
        return near, struct, member

    def name(self, path, struct, member):
        return f"{struct}.{member} in {os.path.relpath(path, self.folder)}"

    def mark(self, path, struct, member):
        path, start, end = self.struct_body(struct, path)
        text = open(path).read()
        says = self.name(path, struct, member)
        body, n = re.subn(rf"\b{member}\b((?:\[[^]]*\])*)(?=\s*[,;])",
                          rf'{member}\1 __attribute__((deprecated("{says}")))',
                          text[start:end], count=1)
        assert n == 1, f"struct {struct} in {path} has no member {member}"
        with open(path, "w") as f:
            f.write(text[:start] + body + text[end:])


def fields_of(tree, file):
    """{(path, struct, member): "file: table: row"} of every stored field of one file."""
    source = open(os.path.join(tree.folder, file)).read()
    if "static const struct field " not in source:
        return {}
    text = re.sub(r"^#.*\n", "", tree.gcc(file, "-E").stdout, flags=re.M)
    text = without_braces_in_texts(text)
    fields = {}
    for found in TABLE.finditer(text):
        table = text[found.end():closing(text, found.end() - 1)]
        for row in rows_of(table):
            kind = re.search(r"\.type\s*=\s*(\w+)", row)
            name = re.search(r'\.name\s*=\s*"(.*?)"', row)
            offset = re.search(r"\.offset\s*=\s*(.*?)(?:,\s*\.\w+\s*=|,?\s*$)", row, re.S)
            if not kind or kind[1] in STORED_NOWHERE or not offset:
                continue
            stored = OFFSET.findall(offset[1])
            assert stored, f"{file}: no offsetof in {row}"
            place = tree.resolve(*stored[-1], os.path.join(tree.folder, file))
            fields[place] = f"{file}: {found[1]}: \"{name[1]}\""
    return fields


def is_read(path, line, member):
    """False where the member is only assigned, or its place in the struct is taken. The column that
    the compiler tells is that of the statement."""
    text = open(path).read().split("\n")[line - 1]
    uses = re.findall(rf"\b{member}\b(?:\[[^]]*\])*(\s*=[^=])?", text)
    return "offsetof" not in text and (not uses or not all(uses))


def is_rule(path, function):
    """True of parsers and of rules between fields, which get a field_ctx to complain into: they
    look at what was written, and do not act on it."""
    head = re.search(rf"^[\w *]+\b{function}\(([^{{;]*)\)\s*{{", open(path).read(), re.M)
    return bool(head) and "struct field_ctx" in head[1]


def readers_in(tree, file):
    """Names of the members that this file reads."""
    inside, read = "", set()
    for line in tree.gcc(file, "-fsyntax-only", "-Wdeprecated-declarations").stderr.split("\n"):
        found = FUNCTION.search(line)
        inside = found[1] if found else "" if "At top level" in line else inside
        use = USE.match(line)
        if use and inside and is_read(use[1], int(use[2]), use[4]) and \
                not is_rule(use[1], inside):
            read.add(use[3])
    return read


def unread(tree):
    """Rows whose member nobody reads."""
    fields = {}
    for found in tree.map(lambda f: fields_of(tree, f), sorted(tree.commands)):
        fields.update(found)
    assert len(fields) > 80, f"only {len(fields)} fields were found: the tables look different now"
    for place in fields:
        tree.mark(*place)
    read = set().union(*tree.map(lambda f: readers_in(tree, f), sorted(tree.commands)))
    assert read, "the compiler tells of no use at all"
    names = {tree.name(*place): where for place, where in fields.items()}
    return {where: name for name, where in names.items() if name not in read}


class Fields(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="brunt-fields-")
        self.addCleanup(folder.cleanup)
        self.tree = Tree(folder.name)

    def add_dead_field(self):
        """A field whose only reader is the rule that checks it, as duration's once was."""
        path = os.path.join(self.tree.folder, "lib/fault/pod_kill.c")
        text = open(path).read()
        text = text.replace("\tint64_t grace_s;\n", "\tint64_t grace_s, dead_s;\n", 1)
        text = text.replace('\t{\n\t\t.name = "gracePeriod"', '\t{.name = "dead", .type = FIELD_INT, '
                            '.offset = offsetof(struct pod_kill_params, dead_s)},\n'
                            '\t{\n\t\t.name = "gracePeriod"', 1)
        text = text.replace("\tif (p->action != POD_KILL)", "\tif (p->dead_s < 0)\n\t\treturn 0;\n"
                            "\tif (p->action != POD_KILL)", 1)
        with open(path, "w") as f:
            f.write(text)

    def test_every_field_has_a_reader_and_a_dead_one_is_seen(self):
        self.add_dead_field()
        dead = unread(self.tree)
        planted = dead.pop('lib/fault/pod_kill.c: fields: "dead"', None)
        self.assertTrue(planted, "the planted field without a reader was not found")
        rest = {where: member for where, member in dead.items()
                if member.split()[0] not in DECIDED_BY_RULE}
        self.assertEqual(rest, {}, "nobody reads what these fields store")


if __name__ == "__main__":
    harness.main()
