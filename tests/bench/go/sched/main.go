// sched ROW N - Go's side of the rows sched.*: the same work as tests/bench/rt_sched.c
//
// Prints one JSON object: value (of the row's unit), and what else the row reports.
// GOMAXPROCS comes from the environment.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"sort"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

type result map[string]float64

var done int64

func nop() { atomic.AddInt64(&done, 1) }

func waitUntil(n int64) {
	for atomic.LoadInt64(&done) < n {
		runtime.Gosched()
	}
}

// One coroutine starts n others, which end at once; it makes room after each 64.
func spawner(fn func(), n int) {
	for i := 0; i < n; i++ {
		go fn()
		if i%64 == 63 {
			runtime.Gosched()
		}
	}
}

func perOp(start time.Time, n int) float64 { return float64(time.Since(start).Nanoseconds()) / float64(n) }

func spawn(n int) result {
	start := time.Now()
	spawner(nop, n)
	waitUntil(int64(n))
	return result{"value": perOp(start, n)}
}

// A counter for all would be what they wait for.
type share struct {
	_    [128]byte
	done int64
	_    [128]byte
}

// As many spawners as Ps, each with its share.
func spawnAll(n int) result {
	procs := runtime.GOMAXPROCS(0)
	var all sync.WaitGroup
	start := time.Now()
	for p := 0; p < procs; p++ {
		all.Add(1)
		go func() {
			s := new(share)
			spawner(func() { atomic.AddInt64(&s.done, 1) }, n/procs)
			for atomic.LoadInt64(&s.done) < int64(n/procs) {
				runtime.Gosched()
			}
			all.Done()
		}()
	}
	all.Wait()
	return result{"value": perOp(start, n)}
}

var sink uint64

func work(turns int) {
	x := uint64(turns)
	for i := 0; i < turns; i++ {
		x = x*6364136223846793005 + 1442695040888963407
	}
	atomic.AddUint64(&sink, x&1)
	atomic.AddInt64(&done, 1)
}

// One producer; whoever else runs has to steal: pieces of about two microseconds.
func steal(n int) result {
	start := time.Now()
	for i := 0; i < n; i++ {
		go work(2000)
		if i%64 == 63 {
			runtime.Gosched()
		}
	}
	waitUntil(int64(n))
	return result{"value": perOp(start, n)}
}

func yielder(n int, all *sync.WaitGroup) {
	for i := 0; i < n; i++ {
		runtime.Gosched()
	}
	all.Done()
}

func switches(n int) result {
	var all sync.WaitGroup
	all.Add(2)
	start := time.Now()
	go yielder(n, &all)
	go yielder(n, &all)
	all.Wait()
	return result{"value": perOp(start, 2*n)}
}

func roundtrip(n int) result {
	ping, pong := make(chan int64), make(chan int64)
	go func() {
		for v := range ping {
			pong <- v
		}
	}()
	start := time.Now()
	for i := 0; i < n; i++ {
		ping <- int64(i)
		<-pong
	}
	return result{"value": perOp(start, n)}
}

func rss() float64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		panic(err)
	}
	var size, resident float64
	fmt.Sscan(string(b), &size, &resident)
	return resident * float64(os.Getpagesize())
}

func parked(n int, print bool) result {
	never := make(chan int)
	before := rss()
	for i := 0; i < n; i++ {
		go func(i int) {
			if print {
				var buf [64]byte
				b := fmt.Appendf(buf[:0], "%d of %s", i, "many")
				atomic.AddUint64(&sink, uint64(len(b)))
			}
			atomic.AddInt64(&done, 1)
			<-never
		}(i)
		if i%64 == 63 {
			runtime.Gosched()
		}
	}
	waitUntil(int64(n))
	return result{"value": (rss() - before) / float64(n)}
}

var spinning int64

func hog() {
	x := uint64(1)
	atomic.AddInt64(&spinning, 1)
	for {
		x = x*6364136223846793005 + 1442695040888963407
		if x == 0 {
			sink++
		}
	}
}

func startHogs(n int64) {
	for i := int64(0); i < n; i++ {
		go hog()
	}
	for atomic.LoadInt64(&spinning) < n {
		time.Sleep(time.Millisecond)
	}
}

func quantile(sorted []float64, q float64) float64 { return sorted[int(float64(len(sorted)-1)*q)] }

// The time from "stop" to "all stopped" is in the runtime's own histogram, whose buckets are a
// quarter of a power of two wide: the quantile is interpolated inside its bucket.
func stops() *metrics.Float64Histogram {
	s := []metrics.Sample{{Name: "/sched/pauses/stopping/other:seconds"}}
	metrics.Read(s)
	if s[0].Value.Kind() != metrics.KindFloat64Histogram {
		panic("this Go has no /sched/pauses/stopping/other:seconds (1.22 or newer is needed)")
	}
	h := *s[0].Value.Float64Histogram()
	h.Counts = append([]uint64(nil), h.Counts...)
	return &h
}

func histogramQuantile(before, after *metrics.Float64Histogram, q float64) float64 {
	total := uint64(0)
	for i := range after.Counts {
		total += after.Counts[i] - before.Counts[i]
	}
	rest := q * float64(total)
	for i := range after.Counts {
		n := float64(after.Counts[i] - before.Counts[i])
		if n > 0 && rest <= n {
			lo, hi := after.Buckets[i], after.Buckets[i+1]
			return (lo + (hi-lo)*rest/n) * 1e6
		}
		rest -= n
	}
	return 0
}

// A tight loop on the other P is stopped n times, with pauses in which it gets going again.
func stop(n int) result {
	startHogs(1)
	before := stops()
	var m runtime.MemStats
	for i := 0; i < n; i++ {
		time.Sleep(time.Millisecond)
		runtime.ReadMemStats(&m)
	}
	after := stops()
	return result{"value": histogramQuantile(before, after, 0.5),
		"p99": histogramQuantile(before, after, 0.99)}
}

func sleeper(n int) result {
	startHogs(2)
	over := make([]float64, n)
	for i := range over {
		start := time.Now()
		time.Sleep(time.Millisecond)
		over[i] = float64(time.Since(start)-time.Millisecond) / 1e3
	}
	sort.Float64s(over)
	return result{"value": quantile(over, 0.5), "p99": quantile(over, 0.99)}
}

var rows = map[string]func(n int) result{
	"spawn":             spawn,
	"spawn_all":         spawnAll,
	"steal":             steal,
	"switch":            switches,
	"roundtrip":         roundtrip,
	"parked_rss":        func(n int) result { return parked(n, false) },
	"parked_rss_printf": func(n int) result { return parked(n, true) },
	"stop":              stop,
	"sleeper":           sleeper,
}

// CPU time of the thread that has used most.
func busiestThread() float64 {
	most := 0.0
	files, _ := filepath.Glob("/proc/self/task/*/schedstat")
	for _, f := range files {
		var ns float64
		text, _ := os.ReadFile(f)
		fmt.Sscan(string(text), &ns)
		if ns/1e9 > most {
			most = ns / 1e9
		}
	}
	return most
}

func main() {
	row := rows[os.Args[1]]
	n, err := strconv.Atoi(os.Args[2])
	if row == nil || err != nil {
		fmt.Fprintln(os.Stderr, "usage: sched ROW N")
		os.Exit(2)
	}
	r := row(n)
	r["busiest_s"] = busiestThread()
	var use syscall.Rusage
	var m runtime.MemStats
	syscall.Getrusage(syscall.RUSAGE_SELF, &use)
	runtime.ReadMemStats(&m)
	r["cpu_s"] = float64(use.Utime.Nano()+use.Stime.Nano()) / 1e9
	r["gc_cycles"] = float64(m.NumGC)
	json.NewEncoder(os.Stdout).Encode(r)
}
