// Command proxy gives cluster-local names a meaning on a machine that has no cluster DNS.
//
// Knative's processes are started with HTTP_PROXY pointing here. They address each other, and their
// subscribers, by names such as http://broker-ingress.knative-eventing.svc.cluster.local; the proxy looks
// the name up in a routes file and forwards the request, with its Host header kept, to a port on this machine.
//
// The routes file has one "<host name> <host:port>" per line, first match wins; "*" in a name stands for anything.
// It is read again whenever it changes, so a test can add a subscriber while everything runs.
package main

import (
	"bufio"
	"flag"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"path"
	"strings"
	"sync"
	"time"
)

type route struct{ name, target string }

type routes struct {
	file    string
	mu      sync.Mutex
	changed time.Time
	table   []route
}

// target returns the host:port that serves host, or "" where nothing does.
func (r *routes) target(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if info, err := os.Stat(r.file); err == nil && !info.ModTime().Equal(r.changed) {
		r.load(info.ModTime())
	}
	for _, rt := range r.table {
		if matched, _ := path.Match(rt.name, host); matched {
			return rt.target
		}
	}
	return ""
}

func (r *routes) load(changed time.Time) {
	file, err := os.Open(r.file)
	if err != nil {
		log.Print(err)
		return
	}
	defer file.Close()
	r.changed, r.table = changed, nil
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if words := strings.Fields(lines.Text()); len(words) == 2 {
			r.table = append(r.table, route{words[0], words[1]})
		}
	}
}

func main() {
	listen := flag.String("listen", "127.0.0.1:8099", "address to listen on")
	file := flag.String("routes", "routes", "file of routes")
	flag.Parse()
	table := &routes{file: *file}

	forward := &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Scheme, p.Out.URL.Host = "http", table.target(p.In.Host)
			p.Out.Host = p.In.Host
		},
		Transport: &http.Transport{MaxIdleConnsPerHost: 256},
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if table.target(r.Host) == "" {
			http.Error(w, "no route to "+r.Host, http.StatusBadGateway)
			return
		}
		forward.ServeHTTP(w, r)
	})
	log.Fatal(http.ListenAndServe(*listen, handler))
}
