"""peers - builds the Go, Java and other programs that our rows are compared with, below BUILD/bench"""
import functools
import os
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(os.environ["BUILD_DIR"], "bench")


def output(argv, **kw):
    return subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True, **kw).stdout.strip()


@functools.lru_cache(maxsize=None)
def go_command():
    return output([os.path.join(HERE, "go-toolchain"), os.environ["BUILD_DIR"]])


def go_env():
    """Off the network, with a cache of its own: nothing but the standard library is used."""
    return dict(os.environ, GOTOOLCHAIN="local", GOPROXY="off", GOFLAGS="-mod=mod", CGO_ENABLED="0",
                GOCACHE=os.path.join(OUT, "gocache"), GOPATH=os.path.join(OUT, "gopath"))


@functools.lru_cache(maxsize=None)
def go_name():
    """As the peer of a row: Go 1.26.10."""
    return "Go " + output([go_command(), "env", "GOVERSION"], env=go_env()).removeprefix("go")


@functools.lru_cache(maxsize=None)
def go_program(name):
    """Path of the program whose source is the folder (or the file.go) of that name in go/."""
    os.makedirs(OUT, exist_ok=True)
    program = os.path.join(OUT, "go-" + name)
    source = "./" + name if os.path.isdir(os.path.join(HERE, "go", name)) else f"./{name}.go"
    subprocess.run([go_command(), "build", "-o", program, source], check=True, env=go_env(),
                   cwd=os.path.join(HERE, "go"))
    return program


@functools.lru_cache(maxsize=None)
def boehm_program(name):
    """Path of the program NAME.c, linked with Boehm's collector."""
    os.makedirs(OUT, exist_ok=True)
    program = os.path.join(OUT, name)
    subprocess.run(["cc", "-O2", "-o", program, os.path.join(HERE, name + ".c"), "-lgc"], check=True)
    return program


@functools.lru_cache(maxsize=None)
def boehm_name():
    version = output(["dpkg-query", "-W", "-f", "${Version}", "libgc-dev"])
    return "Boehm " + version.split(":")[-1].split("-")[0]


@functools.lru_cache(maxsize=None)
def java_class(name):
    """Class path that holds the compiled class of jvm/NAME.java."""
    os.makedirs(OUT, exist_ok=True)
    subprocess.run(["javac", "-d", OUT, os.path.join(HERE, "jvm", name + ".java")], check=True)
    return OUT


@functools.lru_cache(maxsize=None)
def java_name():
    first = subprocess.run(["java", "-version"], stderr=subprocess.PIPE, text=True,
                           check=True).stderr.split('"')[1]
    return f"JVM {first} G1"
