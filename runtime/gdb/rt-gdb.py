"""rt-gdb - coroutines in gdb

    (gdb) source runtime/gdb/rt-gdb.py
    (gdb) info coroutines            all of them, with state, reason and place
    (gdb) coroutine 17 bt            the backtrace of one, or any other command in its place
    (gdb) coroutine all bt 3

A coroutine that runs is looked at on its thread. Where one goes on that does not is put into the
selected thread's registers for the time of the command and taken back; the function there has
saved the other registers in its frame. That needs a process; a core file shows `info coroutines` only.
"""
import gdb

CACHE_LINE = 64
COLOURS = 16  # as in runtime/sched/stack.c
KEPT = ("rip", "rsp", "rbp", "orig_rax")


def enum_names(prefix, type_name):
    return {int(f.enumval): f.name.removeprefix(prefix).lower().replace("_", " ")
            for f in gdb.lookup_type("enum " + type_name).fields()}


def static(name):
    symbol = gdb.lookup_static_symbol(name) or gdb.lookup_global_symbol(name)
    if symbol is None:
        raise gdb.GdbError(f"{name} is not in this program: no runtime, or no debug information")
    return symbol.value()


def coroutines():
    """Every slot of a stack that holds a coroutine, as values of type struct rt_co."""
    stacks = static("stacks")
    co_type = gdb.lookup_type("struct rt_co")
    idle = [v for v, name in enum_names("CO_", "co_state").items() if name == "idle"][0]
    for k in range(int(stacks["n_chunks"])):
        chunk = stacks["chunks"][k]
        for i in range(int(chunk["n_used"])):
            end = int(chunk["base"]) + (i + 1) * int(chunk["slot_bytes"])
            end -= i * (i + 1) // 2 % COLOURS * CACHE_LINE
            address = (end - co_type.sizeof) & ~(CACHE_LINE - 1)
            co = gdb.Value(address).cast(co_type.pointer()).dereference()
            if int(co["state"]) != idle:
                yield co


def word(address):
    return int(gdb.Value(address).cast(gdb.lookup_type("unsigned long").pointer()).dereference())


def thread_of(co):
    """gdb's thread that runs it, None: none does."""
    m = co["m"]
    if int(m) == 0 or int(m.dereference()["cur"]) != int(co.address):
        return None
    tid = int(m.dereference()["tid"])
    for thread in gdb.selected_inferior().threads():
        if tid in thread.ptid:
            return thread
    return None


def function_of(pc):
    """The function whose code it is, not one that was inlined there."""
    name, block = f"{pc:#x}", gdb.block_for_pc(pc)
    while block:
        if block.function:
            name = block.function.name
        block = block.superblock
    return name


def place_of(pc):
    sal = gdb.find_pc_line(pc)
    return f"{function_of(pc)} at {sal.symtab.filename}:{sal.line}" if sal.symtab else function_of(pc)


def stack_of(co):
    """Return addresses of one that does not run, by frame pointers."""
    saved, top = co["saved"], int(co.address)
    sp, frame = int(saved["sp"]), int(saved["fp"])
    yield int(saved["pc"])
    while sp <= frame < top and word(frame + 8):
        yield word(frame + 8)
        frame = word(frame)


def waits_at(co):
    """Where it called into the runtime."""
    pcs = list(stack_of(co))
    outside = [pc for pc in pcs if not (sal := gdb.find_pc_line(pc - 1)).symtab
               or "/runtime/sched/" not in sal.symtab.fullname()
               and "/runtime/sync/" not in sal.symtab.fullname()
               and "/runtime/net/" not in sal.symtab.fullname()]
    return place_of((outside + pcs)[0] - 1)


def describe(co):
    states, reasons = enum_names("CO_", "co_state"), enum_names("WAIT_", "wait_reason")
    state = states[int(co["state"])]
    if state == "waiting":
        state = reasons[int(co["reason"])]
    name = f" \"{co['name'].string()}\"" if int(co["name"]) else ""
    where = "on a thread" if thread_of(co) else waits_at(co)
    created = f", created by {place_of(int(co['created_at']) - 1)}" if int(co["parent_id"]) else ""
    return f"{int(co['id']):>6}{name} [{state}] {where}{created}"


class InfoCoroutines(gdb.Command):
    """List the coroutines of the runtime."""

    def __init__(self):
        super().__init__("info coroutines", gdb.COMMAND_STATUS)

    def invoke(self, arg, from_tty):
        for co in coroutines():
            print(describe(co))


def set_registers(values):
    for name, value in values.items():
        gdb.execute(f"set var ${name} = {value}", to_string=True)


def with_saved_registers(co, command):
    """Runs the command with the coroutine's registers in the selected thread."""
    gdb.execute("frame 0", to_string=True)
    kept = {name: int(gdb.parse_and_eval("(unsigned long)$" + name)) for name in KEPT}
    saved = co["saved"]
    try:
        # The program counter first: gdb gives up a system call's restart with it (orig_rax).
        set_registers({"rip": int(saved["pc"]), "rsp": int(saved["sp"]), "rbp": int(saved["fp"])})
        gdb.execute(command)
    finally:
        gdb.execute("frame 0", to_string=True)
        set_registers(kept)


def execute_in(co, command):
    thread = thread_of(co)
    if thread is None:
        with_saved_registers(co, command)
        return
    before = gdb.selected_thread()
    thread.switch()
    try:
        gdb.execute(command)
    finally:
        before.switch()


class Coroutine(gdb.Command):
    """coroutine ID|all COMMAND: run a gdb command where a coroutine stands."""

    def __init__(self):
        super().__init__("coroutine", gdb.COMMAND_STACK)

    def invoke(self, arg, from_tty):
        which, _, command = arg.strip().partition(" ")
        if not which or not command:
            raise gdb.GdbError("usage: coroutine ID|all COMMAND, for example: coroutine 17 bt")
        found = [co for co in coroutines() if which in ("all", str(int(co["id"])))]
        if not found:
            raise gdb.GdbError(f"no coroutine {which}; `info coroutines` lists them")
        for co in found:
            print("coroutine " + describe(co).strip())
            execute_in(co, command)


InfoCoroutines()
Coroutine()
