// pauses ROW N - Go's side of memory.stw_*, cycle, request and settings: the same work as
// tests/bench/rt_pauses.c
//
// Nothing is tuned but what the environment says: GOMAXPROCS, GOGC and GOMEMLIMIT.
package main

import (
	"fmt"
	"os"
	"runtime"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"brunt.dev/bench/row"
)

const liveObjects = 1 << 23 // of 64 bytes: 512 MiB
const patience = 480 * time.Second

// Ends the process: a row without its cycles says nothing.
func checkPatience(since time.Time, got, want uint64) {
	if time.Since(since) < patience {
		return
	}
	fmt.Fprintf(os.Stderr, "%v went by with %d of %d collections\n", patience, got, want)
	os.Exit(1)
}

// Parked goroutines.

var parked atomic.Int64

func parkMany(n int) {
	never := make(chan int)
	for i := 0; i < n; i++ {
		go func() {
			parked.Add(1)
			<-never
		}()
		if i%64 == 63 {
			runtime.Gosched()
		}
	}
	for parked.Load() < int64(n) {
		runtime.Gosched()
	}
}

// A whole forced cycle, with n parked ones and nothing else to mark.
func cycle(n int) row.Result {
	var ms []float64
	parkMany(n)
	runtime.GC()
	for i := 0; i < 5; i++ {
		start := time.Now()
		runtime.GC()
		ms = append(ms, float64(time.Since(start).Nanoseconds())/1e6)
	}
	return row.Result{"value": row.Median(ms)}
}

// Pauses: 512 MiB alive in pieces of 1 KiB, some replaced, while garbage is made.

const pieces, stwCycles, garbagePerPiece = 512 << 10, 22, 8

type piece struct {
	neighbour *piece
	words     [127]uint64
}

var sink *piece

func putPiece(live []*piece, at uint64, r *row.Random) {
	p := new(piece)
	p.words[0] = at
	live[at] = p
	if at > 0 && r.Next()%2 == 1 {
		live[at-1].neighbour = p
	}
}

func stw(n int) row.Result {
	live := make([]*piece, pieces)
	r := row.Random{X: 1}
	parkMany(n)
	for i := uint64(0); i < pieces; i++ {
		putPiece(live, i, &r)
	}
	runtime.GC()
	base, first, start := row.Pauses(), row.Cycles(), time.Now()
	for row.Cycles()-first < stwCycles {
		for i := 0; i < 64*garbagePerPiece; i++ {
			sink = new(piece)
			if i%garbagePerPiece == 0 {
				putPiece(live, r.Next()%pieces, &r)
			}
		}
		checkPatience(start, row.Cycles()-first, stwCycles)
	}
	took := time.Since(start)
	runtime.KeepAlive(live)
	return row.Result{"value": float64(took.Nanoseconds()) / 1e6 / stwCycles,
		"pauses": row.PausesSince(base)}
}

// Requests.

const (
	sessions      = 64 << 10
	walk          = 32       // edges of the live graph that a request follows
	replaced      = 4        // sessions that it replaces
	bytesPerS     = 48 << 20 // that a worker's requests allocate together, when paced
	itemBytes     = 32 + 104 // mean, with its body
	requestCycles = 10
	settledCycles = 2
)

type item struct {
	next *item
	body []byte
}

var bodyBytes = [...]int{16, 192, 32, 256, 48, 128, 64, 96}

type service struct {
	graph    *row.Vertex
	sessions []*item
	stopAt   atomic.Int64 // ns since base; 0: not known yet
	base     time.Time
	served   atomic.Int64
	rate     int // a worker's requests a second; 0: as fast as it goes
	items    int
}

type worker struct {
	service *service
	at      *row.Vertex
	r       row.Random
	ms      []float32
}

func newItem(number uint64) *item {
	body := make([]byte, bodyBytes[number%uint64(len(bodyBytes))])
	body[0] = byte(number)
	body[len(body)-1] = byte(number)
	return &item{body: body}
}

func itemsSum(i *item) uint64 {
	sum := uint64(0)
	for ; i != nil; i = i.next {
		sum += uint64(len(i.body)) + uint64(i.body[0]) + uint64(i.body[len(i.body)-1])
	}
	return sum
}

// What a request does: looks at what lives, makes its own small objects, leaves some of them behind.
func (w *worker) request() uint64 {
	s := w.service
	var list *item
	sum := uint64(0)
	for i := 0; i < walk; i++ {
		sum += w.at.Data[0]
		w.at = w.at.To[w.r.Next()%uint64(len(w.at.To))]
	}
	for i := 0; i < s.items; i++ {
		it := newItem(uint64(i))
		it.next = list
		list = it
	}
	for i := uint64(0); i < replaced; i++ {
		s.sessions[w.r.Next()%sessions] = newItem(i)
	}
	return sum + itemsSum(list)
}

// Open loop: a request is due at its time, whenever the one before was done.
func (w *worker) paced() {
	s := w.service
	period := time.Second / time.Duration(s.rate)
	since := time.Since(s.base)
	sum := uint64(0)
	w.ms = make([]float32, 0, s.rate*int((patience+time.Minute)/time.Second))
	for len(w.ms) < cap(w.ms) {
		due := since + time.Duration(len(w.ms))*period
		if stop := s.stopAt.Load(); stop != 0 && int64(due) >= stop {
			break
		}
		if wait := due - time.Since(s.base); wait > 0 {
			time.Sleep(wait)
		}
		sum += w.request()
		w.ms = append(w.ms, float32(time.Since(s.base)-due)/1e6)
	}
	s.served.Add(int64(len(w.ms)))
	total.Add(sum)
}

var total atomic.Uint64

func (w *worker) saturated() {
	n, sum := int64(0), uint64(0)
	for ; w.service.stopAt.Load() == 0; n++ {
		sum += w.request()
	}
	w.service.served.Add(n)
	total.Add(sum)
}

// Runs all workers until that many cycles have ended and what was due by then is done. Returns the
// seconds it took.
func (s *service) serve(workers []*worker, want uint64) float64 {
	var all sync.WaitGroup
	first, start := row.Cycles(), time.Now()
	s.stopAt.Store(0)
	s.served.Store(0)
	for _, w := range workers {
		all.Add(1)
		go func(w *worker) {
			if s.rate != 0 {
				w.paced()
			} else {
				w.saturated()
			}
			all.Done()
		}(w)
	}
	for row.Cycles()-first < want {
		time.Sleep(20 * time.Millisecond)
		checkPatience(start, row.Cycles()-first, want)
	}
	s.stopAt.Store(int64(time.Since(s.base)))
	all.Wait()
	return time.Since(start).Seconds()
}

// Seconds of CPU a second: of the collector, by its share of the process's, and of the process.
func (s *service) servePaced(workers []*worker, want uint64) row.Result {
	base, classes, cpu := row.Pauses(), row.ReadClasses(), row.CPUSeconds()
	seconds := s.serve(workers, want)
	cpu = (row.CPUSeconds() - cpu) / seconds
	r := row.Result{"gc_cpu": cpu * classes.GCShare(), "cpu": cpu,
		"requests_per_s": float64(s.served.Load()) / seconds, "paced_cycles": want,
		"pauses": row.PausesSince(base)}
	var ms []float64
	for _, w := range workers {
		for _, x := range w.ms {
			ms = append(ms, float64(x))
		}
	}
	sort.Float64s(ms)
	r["p50"], r["value"] = row.Quantile(ms, 0.5), row.Quantile(ms, 0.99)
	r["p999"], r["max"] = row.Quantile(ms, 0.999), row.Quantile(ms, 1)
	return r
}

func newService(rate int) (*service, []*worker) {
	s := &service{graph: row.RandomGraph(liveObjects), sessions: make([]*item, sessions),
		base: time.Now(), rate: rate, items: bytesPerS / rate / itemBytes}
	for i := range s.sessions {
		s.sessions[i] = newItem(uint64(i))
	}
	runtime.GC()
	var workers []*worker
	for i := 0; i < runtime.GOMAXPROCS(0); i++ {
		workers = append(workers, &worker{service: s, at: s.graph, r: row.Random{X: uint64(i) + 1}})
	}
	return s, workers
}

// n: requests a second and worker.
func requests(n int) row.Result {
	s, workers := newService(n)
	return s.servePaced(workers, requestCycles)
}

// Paced, and then as fast as it goes: of the settings of the environment.
func settings(n int) row.Result {
	s, workers := newService(n)
	s.serve(workers, settledCycles)
	r := s.servePaced(workers, requestCycles)
	s.rate = 0
	seconds := s.serve(workers, requestCycles)
	r["throughput"] = float64(s.served.Load()) / seconds
	return r
}

func main() {
	row.Main(map[string]func(n int) row.Result{
		"cycle":    cycle,
		"request":  requests,
		"settings": settings,
		"stw":      stw,
	})
}
