#!/usr/bin/python3
"""polls.py OBJECT... - the loops of managed objects that have no poll

A loop is a cycle of a function's control flow that remains when the instructions which poll are taken
out: reads of the poll word (RT_POLL) and calls of rt.h's functions, but for those that are no
safepoint. Such a loop holds up a cooperative stop of the world for as long as it lasts. The machine
code is looked at, not the source: what the compiler has unrolled or turned into a call of memcpy is
no loop any more. Recursion and single string instructions are not seen.
"""
import re
import subprocess
import sys

# Of rt.h: "No safepoint".
NO_SAFEPOINT = {"rt_self", "rt_id", "rt_set_name", "rt_now", "rt_local_get", "rt_local_set",
                "rt_errno_location", "rt_preempt_off", "rt_procs", "rt_chan_len"}
FUNCTION = re.compile(r"^[0-9a-f]+ <([^>]+)>:$")
INSTRUCTION = re.compile(r"^ *([0-9a-f]+):\s+(.*)$")
RELOCATION = re.compile(r"^\s+[0-9a-f]+: R_\S+\s+(\S+)")
TARGET = re.compile(r"^(?:bnd |notrack )?(j\w+|loop\w*)(?:,p[nt])? +([0-9a-f]+) <")
NO_RETURN = re.compile(r"^(?:bnd |notrack |repz? )*(ret|jmp|ud2|hlt)")

SLOW_PATH = 8  # instructions between the branch of a poll and its call


def functions(path):
    """Name and [(address, instruction, [relocation])] of each function in rt_managed."""
    text = subprocess.run(["objdump", "-dr", "--no-show-raw-insn", "-j", "rt_managed", path],
                          capture_output=True, text=True, check=True).stdout
    name, body = None, []
    for line in text.split("\n"):
        if m := FUNCTION.match(line):
            if body:
                yield name, body
            name, body = m[1], []
        elif m := RELOCATION.match(line):
            body[-1][2].append(re.sub(r"[-+]0x[0-9a-f]+$", "", m[1]))
        elif name and (m := INSTRUCTION.match(line)):
            body.append((int(m[1], 16), m[2], []))
    if body:
        yield name, body


def callee(text, relocations):
    """Whom an instruction calls, or jumps to in another function; None: nobody or unknown."""
    m = re.match(r"(?:bnd )?(?:call|jmp) +[0-9a-f]+ <([^>+]+)>", text)
    if relocations:
        return relocations[0] if re.match(r"(bnd )?(call|jmp)", text) else None
    return m[1] if m else None


def is_safepoint(name, polling):
    return name is not None and (name in polling or
                                 (name.startswith("rt_") and name not in NO_SAFEPOINT))


def leads_to_slow_poll(instructions):
    for _, text, relocations in instructions:
        if "rt_poll_slow" in relocations:
            return True
        if TARGET.match(text) or NO_RETURN.match(text):
            return False
    return False


def polling_instructions(body, polling):
    """Calls of what polls, and the branches of RT_POLL (the poll word's address may lie in a register)."""
    index = {address: i for i, (address, _, _) in enumerate(body)}
    found = set()
    for i, (address, text, relocations) in enumerate(body):
        target = TARGET.match(text)
        ways = [i + 1] + ([index[int(target[2], 16)]] if target and int(target[2], 16) in index else [])
        if is_safepoint(callee(text, relocations), polling) or "rt_poll_word" in relocations and \
                re.match(r"(mov|cmp|test)", text) and not re.match(r"mov.*%rip\),%r", text):
            found.add(address)
        elif target and any(leads_to_slow_poll(body[w:w + SLOW_PATH]) for w in ways):
            found.add(address)
    return found


def flow(body, polling):
    """Successors of each instruction that does not poll."""
    following = dict(zip([a for a, _, _ in body], [a for a, _, _ in body[1:]]))
    edges, indirect = {}, []
    for address, text, relocations in body:
        target = TARGET.match(text)
        edges[address] = set()
        if not NO_RETURN.match(text) and address in following:
            edges[address].add(following[address])
        # A jump with a relocation leaves the function.
        if target and not relocations and int(target[2], 16) in edges.keys() | following.keys():
            edges[address].add(int(target[2], 16))
        if re.match(r"(bnd |notrack )?jmp +\*", text):
            indirect.append(address)
    # A switch: its cases are what nothing else leads to.
    entered = set().union(*edges.values()) | {body[0][0]}
    for address in indirect:
        edges[address] |= set(edges) - entered
    taken = polling_instructions(body, polling)
    return {a: to - taken for a, to in edges.items() if a not in taken}


def has_cycle(edges):
    """Whether something remains when what has no way in is taken out again and again."""
    ways_in = dict.fromkeys(edges, 0)
    for to in edges.values():
        for t in to:
            ways_in[t] += 1
    free = [a for a, n in ways_in.items() if n == 0]
    left = len(edges)
    while free:
        left -= 1
        for t in edges[free.pop()]:
            ways_in[t] -= 1
            if ways_in[t] == 0:
                free.append(t)
    return left > 0


def always_polls(body, edges):
    """No way from the entry to a return without a poll."""
    text = {a: t for a, t, _ in body}
    todo, seen = [body[0][0]], set()
    while todo:
        at = todo.pop()
        if at in seen or at not in edges:
            continue
        seen.add(at)
        if NO_RETURN.match(text[at]) and not edges[at]:
            return False
        todo += edges[at]
    return True


def without_poll(path):
    """Names of the functions with such a loop; clones of the compiler under the function's own."""
    bodies = list(functions(path))
    polling, more = set(), None
    while more is None or more - polling:
        polling |= more or set()
        flows = [flow(body, polling) for _, body in bodies]
        more = {name for (name, body), edges in zip(bodies, flows) if always_polls(body, edges)}
    return sorted({re.sub(r"\.(constprop|isra|part|cold)\b.*", "", name)
                   for (name, _), edges in zip(bodies, flows) if has_cycle(edges)})


if __name__ == "__main__":
    for arg in sys.argv[1:]:
        for found in without_poll(arg):
            print(f"{arg}: {found}")
