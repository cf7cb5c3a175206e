// pool SIZE N - Go's side of the rows pool.go_*: the same work as tests/bench/rt_pool.c with sync.Pool
package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"syscall"
)

const held = 8

type node struct {
	next, other *node
	payload     [6]uint64
}

var live *node

func growLive() {
	for done := 0; done < 100<<20; done += 64 {
		live = &node{next: live}
	}
}

func cpuSeconds() float64 {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return float64(u.Utime.Sec+u.Stime.Sec) + float64(u.Utime.Usec+u.Stime.Usec)/1e6
}

func cycles() uint32 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.NumGC
}

func work(p *sync.Pool, size int) {
	var objects [held]*[]byte
	for i := range objects {
		b := p.Get().(*[]byte)
		(*b)[0] = 1
		(*b)[size-1] = 1
		objects[i] = b
	}
	for _, b := range objects {
		p.Put(b)
	}
}

func main() {
	size, _ := strconv.Atoi(os.Args[1])
	n, _ := strconv.Atoi(os.Args[2])
	pool := sync.Pool{New: func() any { b := make([]byte, size); return &b }}
	growLive()
	runtime.GC()
	before, cpu := cycles(), cpuSeconds()
	for done := 0; done < n; done += held {
		work(&pool, size)
	}
	cpu = cpuSeconds() - cpu
	fmt.Printf("{\"value\": %.6g, \"cpu_s\": %.6f, \"gc_cycles\": %d}\n", cpu/float64(n)*1e9, cpu, cycles()-before)
}
