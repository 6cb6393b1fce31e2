package main

import (
	"bytes"
	"context"
	"flag"
	"io"
	"net"
	"net/http"
	"sort"
	"strings"
	"sync"
	"time"
)

// Bodies are shown up to this length; the suites send none that is longer.
const largestBody = 1 << 20

type headers http.Header

func (h headers) String() string { return "" }

func (h headers) Set(text string) error {
	name, value, _ := strings.Cut(text, ":")
	http.Header(h).Add(strings.TrimSpace(name), strings.TrimSpace(value))
	return nil
}

type call struct {
	method, url, body string
	headers           headers
}

type answer struct {
	Status       int               `json:"status,omitempty"`
	Headers      map[string]string `json:"headers,omitempty"`
	Body         string            `json:"body"`
	Error        string            `json:"error,omitempty"`
	Milliseconds float64           `json:"milliseconds"`
}

// client follows no redirect and knows no proxy: what is asked is what is sent.
func client(timeout time.Duration, connections int, fresh bool) *http.Client {
	return &http.Client{
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext:         (&net.Dialer{Timeout: timeout}).DialContext,
			DisableCompression:  true,
			DisableKeepAlives:   fresh,
			MaxIdleConnsPerHost: connections,
		},
	}
}

func (c call) do(client *http.Client) answer {
	start := time.Now()
	failed := func(err error) answer { return answer{Error: err.Error(), Milliseconds: milliseconds(start)} }
	request, err := http.NewRequest(c.method, c.url, bytes.NewReader([]byte(c.body)))
	if err != nil {
		return failed(err)
	}
	request.Header = http.Header(c.headers).Clone()
	if host := request.Header.Get("Host"); host != "" {
		request.Host = host
	}
	response, err := client.Do(request)
	if err != nil {
		return failed(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, largestBody))
	if err != nil {
		return failed(err)
	}
	shown := map[string]string{}
	for name, values := range response.Header {
		shown[strings.ToLower(name)] = strings.Join(values, ", ")
	}
	return answer{Status: response.StatusCode, Headers: shown, Body: string(body), Milliseconds: milliseconds(start)}
}

func (a answer) good(expected int) bool {
	if a.Error != "" {
		return false
	}
	if expected != 0 {
		return a.Status == expected
	}
	return a.Status < 400
}

func get(arguments []string) bool {
	flags := flag.NewFlagSet("get", flag.ContinueOnError)
	c := call{headers: headers{}}
	flags.Var(c.headers, "H", "header, may be given several times")
	flags.StringVar(&c.method, "X", "", "method; GET, or POST with a body")
	flags.StringVar(&c.body, "d", "", "body")
	expected := flags.Int("expect", 0, "the only status that is no failure; without it those below 400")
	repeat := flags.Int("repeat", 1, "how many calls")
	interval := flags.Duration("interval", 100*time.Millisecond, "time between two calls")
	longest := timeout(flags)
	c.url = parse(flags, arguments)
	if c.method == "" {
		c.method = http.MethodGet
		if c.body != "" {
			c.method = http.MethodPost
		}
	}
	good := true
	one := client(*longest, 1, true)
	for number := range *repeat {
		if number > 0 {
			time.Sleep(*interval)
		}
		a := c.do(one)
		report(a)
		good = good && a.good(*expected)
	}
	return good
}

type sum struct {
	Ok     int            `json:"ok"`
	Failed int            `json:"failed"`
	Errors map[string]int `json:"errors"`
	P50    float64        `json:"p50_milliseconds"`
	P99    float64        `json:"p99_milliseconds"`
	Most   float64        `json:"max_milliseconds"`
}

// kinds of failure that are counted one by one; the rest is counted as "other".
const mostErrors = 20

// calls whose time is kept for the percentiles.
const mostTimes = 1 << 20

func load(arguments []string) bool {
	flags := flag.NewFlagSet("load", flag.ContinueOnError)
	c := call{method: http.MethodGet, headers: headers{}}
	flags.Var(c.headers, "H", "header, may be given several times")
	seconds := flags.Float64("seconds", 10, "how long; a signal ends it earlier and the sum is still told")
	workers := flags.Int("workers", 4, "calls at the same time")
	interval := flags.Duration("interval", 0, "pause of a worker between two calls")
	fresh := flags.Bool("fresh", false, "a new connection for each call")
	longest := timeout(flags)
	c.url = parse(flags, arguments)

	end := make(chan struct{})
	go func() {
		select {
		case <-signals():
		case <-time.After(time.Duration(*seconds * float64(time.Second))):
		}
		close(end)
	}()
	one := client(*longest, *workers, *fresh)
	total := sum{Errors: map[string]int{}}
	var times []float64
	var lock sync.Mutex
	var group sync.WaitGroup
	for range *workers {
		group.Go(func() {
			for {
				select {
				case <-end:
					return
				case <-time.After(*interval):
				}
				a := c.do(one)
				lock.Lock()
				total.count(a)
				if len(times) < mostTimes {
					times = append(times, a.Milliseconds)
				}
				lock.Unlock()
			}
		})
	}
	group.Wait()
	total.percentiles(times)
	report(total)
	return total.Failed == 0 && total.Ok > 0
}

func (s *sum) count(a answer) {
	if a.good(0) {
		s.Ok++
		return
	}
	s.Failed++
	text := a.Error
	if text == "" {
		text = http.StatusText(a.Status) + ": " + a.Body[:min(len(a.Body), 200)]
	}
	if _, known := s.Errors[text]; !known && len(s.Errors) >= mostErrors {
		text = "other"
	}
	s.Errors[text]++
}

func (s *sum) percentiles(times []float64) {
	if len(times) == 0 {
		return
	}
	sort.Float64s(times)
	at := func(part float64) float64 { return times[int(part*float64(len(times)-1))] }
	s.P50, s.P99, s.Most = at(0.5), at(0.99), at(1)
}

func tcp(arguments []string) bool {
	flags := flag.NewFlagSet("tcp", flag.ContinueOnError)
	text := flags.String("send", "", "what to send; the answer is read to the same length")
	longest := timeout(flags)
	address := parse(flags, arguments)
	start := time.Now()
	received, err := exchange(address, *text, *longest)
	a := answer{Body: received, Milliseconds: milliseconds(start)}
	if err != nil {
		a.Error = err.Error()
	}
	report(a)
	return err == nil
}

func exchange(address, text string, timeout time.Duration) (string, error) {
	connection, err := net.DialTimeout("tcp", address, timeout)
	if err != nil {
		return "", err
	}
	defer connection.Close()
	if err := connection.SetDeadline(time.Now().Add(timeout)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(connection, text); err != nil {
		return "", err
	}
	received := make([]byte, len(text))
	read, err := io.ReadFull(connection, received)
	return string(received[:read]), err
}

func dns(arguments []string) bool {
	flags := flag.NewFlagSet("dns", flag.ContinueOnError)
	longest := timeout(flags)
	name := parse(flags, arguments)
	ctx, cancel := context.WithTimeout(context.Background(), *longest)
	defer cancel()
	start := time.Now()
	addresses, err := net.DefaultResolver.LookupHost(ctx, name)
	sort.Strings(addresses)
	a := answer{Body: strings.Join(addresses, " "), Milliseconds: milliseconds(start)}
	if err != nil {
		a.Error = err.Error()
	}
	report(a)
	return err == nil
}
