// pool SIZE N - Go's side of the rows pool.go_*: the same work as tests/bench/rt_pool.c with sync.Pool
package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"

	"brunt.dev/bench/row"
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
	before, cpu := row.Cycles(), row.CPUSeconds()
	for done := 0; done < n; done += held {
		work(&pool, size)
	}
	cpu = row.CPUSeconds() - cpu
	fmt.Printf("{\"value\": %.6g, \"cpu_s\": %.6f, \"gc_cycles\": %d}\n", cpu/float64(n)*1e9, cpu, row.Cycles()-before)
}
