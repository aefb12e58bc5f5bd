// Command load is the load of the benchmarks: light enough not to be what is measured, and the same for ours and the baseline.
//
//	load broker -url URL -listen HOST:PORT -events N [-rate PER_SECOND] [-producers 16] [-type T] [-timeout 60s]
//	    POSTs CloudEvents over as many connections as there are producers, is the subscriber as well, and tells the time from
//	    the start of each POST until the subscriber was called. Without -rate each producer sends as soon as it was answered.
//	load post -url URL -request FILE -seconds S [-connections 16]
//	    POSTs one request again and again. FILE: header lines, an empty line, the body.
//	load ship -requests FILE -url URL [-seconds S]
//	    FILE has one commit a line, as JSON: {"lane", "done", "requests": [{"path", "headers", "body"}]}. Each lane sends a
//	    commit's requests and waits until its word "done" arrives as a line on stdin, then goes on with its next commit,
//	    unless S seconds are over.
//
// Each prints one JSON object; times in seconds.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// connection is one keep-alive connection that sends requests whose bytes are ready.
type connection struct {
	net.Conn
	reader *bufio.Reader
}

func dial(host string) *connection {
	conn, err := net.Dial("tcp", host)
	if err != nil {
		log.Fatal(err)
	}
	return &connection{conn, bufio.NewReader(conn)}
}

// send writes a request and reads its answer; the status, and 0 if the connection broke.
func (c *connection) send(request []byte) int {
	if _, err := c.Write(request); err != nil {
		return 0
	}
	answer, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		return 0
	}
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return 0
	}
	answer.Body.Close()
	return answer.StatusCode
}

// post returns the bytes of a POST request.
func post(target *url.URL, path string, headers []string, body string) []byte {
	head := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n", path, target.Host, len(body))
	for _, line := range headers {
		head += line + "\r\n"
	}
	return []byte(head + "\r\n" + body)
}

func parsed(text string) *url.URL {
	target, err := url.Parse(text)
	if err != nil {
		log.Fatal(err)
	}
	return target
}

func show(result map[string]any) {
	if err := json.NewEncoder(os.Stdout).Encode(result); err != nil {
		log.Fatal(err)
	}
}

// percentile of sorted times, in seconds.
func percentile(sorted []time.Duration, p float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(p*float64(len(sorted))))].Seconds()
}

func broker(words []string) {
	flags := flag.NewFlagSet("broker", flag.ExitOnError)
	address := flags.String("url", "", "the Broker's address")
	listen := flags.String("listen", "", "the subscriber's HOST:PORT")
	events := flags.Int("events", 1000, "how many to send")
	rate := flags.Float64("rate", 0, "events per second in all; 0: as fast as they are answered")
	producers := flags.Int("producers", 16, "connections that send")
	kind := flags.String("type", "bench.happened", "the type of the events")
	size := flags.Int("size", 1000, "bytes of data")
	timeout := flags.Duration("timeout", time.Minute, "how long to wait for the last one")
	flags.Parse(words)

	target, run := parsed(*address), strconv.FormatInt(time.Now().UnixNano(), 36)
	sent, came := make([]atomic.Int64, *events), make([]atomic.Int64, *events)
	var missing sync.WaitGroup
	missing.Add(*events)
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	go http.Serve(listener, http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
		now := time.Now().UnixNano()
		io.Copy(io.Discard, request.Body)
		answer.WriteHeader(http.StatusAccepted)
		mine, number, _ := strings.Cut(request.Header.Get("Ce-Id"), ".")
		n, err := strconv.Atoi(number)
		if mine == run && err == nil && came[n].CompareAndSwap(0, now) {
			missing.Done()
		}
	}))

	data := `{"text":"` + strings.Repeat("x", *size-11) + `"}`
	var next, refused atomic.Int64
	var producing sync.WaitGroup
	start := time.Now()
	for range *producers {
		producing.Add(1)
		go func() {
			defer producing.Done()
			conn := dial(target.Host)
			for {
				n := int(next.Add(1)) - 1
				if n >= *events {
					return
				}
				if *rate > 0 {
					time.Sleep(time.Until(start.Add(time.Duration(float64(n) / *rate * 1e9))))
				}
				request := post(target, target.Path, []string{"Ce-Specversion: 1.0", "Ce-Type: " + *kind, "Ce-Source: /bench",
					fmt.Sprintf("Ce-Id: %s.%d", run, n), "Content-Type: application/json"}, data)
				sent[n].Store(time.Now().UnixNano())
				for {
					status := conn.send(request)
					if status == http.StatusAccepted || status == http.StatusOK {
						break
					}
					refused.Add(1)
					if status == 0 {
						conn = dial(target.Host)
					}
					time.Sleep(10 * time.Millisecond)
				}
			}
		}()
	}
	producing.Wait()
	accepted := time.Since(start).Seconds()
	done := make(chan struct{})
	go func() { missing.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(*timeout):
	}
	last, taken := start.UnixNano(), []time.Duration{}
	for n := range came {
		if at := came[n].Load(); at != 0 {
			last = max(last, at)
			taken = append(taken, time.Duration(at-sent[n].Load()))
		}
	}
	slices.Sort(taken)
	seconds := float64(last-start.UnixNano()) / 1e9
	show(map[string]any{"events": len(taken), "lost": *events - len(taken), "refused": refused.Load(), "accepted": accepted,
		"seconds": seconds, "p50": percentile(taken, 0.5), "p99": percentile(taken, 0.99)})
}

func again(words []string) {
	flags := flag.NewFlagSet("post", flag.ExitOnError)
	address := flags.String("url", "", "where to")
	file := flags.String("request", "", "file with headers and body")
	seconds := flags.Float64("seconds", 3, "how long")
	connections := flags.Int("connections", 16, "connections")
	flags.Parse(words)

	text, err := os.ReadFile(*file)
	if err != nil {
		log.Fatal(err)
	}
	head, body, _ := strings.Cut(string(text), "\n\n")
	target := parsed(*address)
	request := post(target, target.Path, strings.Split(head, "\n"), body)
	var mutex sync.Mutex
	var taken []time.Duration
	refused := 0
	end := time.Now().Add(time.Duration(*seconds * 1e9))
	var senders sync.WaitGroup
	for range *connections {
		senders.Add(1)
		go func() {
			defer senders.Done()
			conn, times, wrong := dial(target.Host), []time.Duration{}, 0
			for time.Now().Before(end) {
				start := time.Now()
				if status := conn.send(request); status < 200 || status > 299 {
					wrong++
					conn = dial(target.Host)
					continue
				}
				times = append(times, time.Since(start))
			}
			mutex.Lock()
			defer mutex.Unlock()
			taken, refused = append(taken, times...), refused+wrong
		}()
	}
	senders.Wait()
	slices.Sort(taken)
	show(map[string]any{"requests": len(taken), "refused": refused, "seconds": *seconds,
		"p50": percentile(taken, 0.5), "p99": percentile(taken, 0.99)})
}

type commit struct {
	Lane     int
	Done     string
	Requests []struct {
		Path    string
		Headers []string
		Body    string
	}
}

func ship(words []string) {
	flags := flag.NewFlagSet("ship", flag.ExitOnError)
	address := flags.String("url", "", "where the paths are")
	file := flags.String("requests", "", "commits, one a line")
	limit := flags.Float64("seconds", 60, "how long commits are begun")
	flags.Parse(words)

	target := parsed(*address)
	text, err := os.ReadFile(*file)
	if err != nil {
		log.Fatal(err)
	}
	lanes, waiting := map[int][]commit{}, map[string]chan struct{}{}
	for line := range strings.Lines(string(text)) {
		var one commit
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			log.Fatal(err)
		}
		lanes[one.Lane] = append(lanes[one.Lane], one)
		if one.Done != "" {
			waiting[one.Done] = make(chan struct{})
		}
	}
	go func() {
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			if arrived, known := waiting[lines.Text()]; known {
				close(arrived)
			}
		}
	}()
	var mutex sync.Mutex
	var taken []time.Duration
	var running sync.WaitGroup
	start := time.Now()
	for _, commits := range lanes {
		running.Add(1)
		go func() {
			defer running.Done()
			conn, times := dial(target.Host), []time.Duration{}
			for _, one := range commits {
				if time.Since(start).Seconds() > *limit {
					break
				}
				var last time.Time
				for _, each := range one.Requests {
					last = time.Now()
					if status := conn.send(post(target, each.Path, each.Headers, each.Body)); status != 202 {
						log.Fatalf("%s answered %d", each.Path, status)
					}
				}
				if one.Done != "" {
					<-waiting[one.Done]
				}
				times = append(times, time.Since(last))
			}
			mutex.Lock()
			defer mutex.Unlock()
			taken = append(taken, times...)
		}()
	}
	running.Wait()
	seconds := time.Since(start).Seconds()
	slices.Sort(taken)
	show(map[string]any{"commits": len(taken), "seconds": seconds, "p50": percentile(taken, 0.5), "p99": percentile(taken, 0.99)})
}

func main() {
	modes := map[string]func([]string){"broker": broker, "post": again, "ship": ship}
	if len(os.Args) < 2 || modes[os.Args[1]] == nil {
		log.Fatal("load broker|post|ship ...")
	}
	modes[os.Args[1]](os.Args[2:])
}
