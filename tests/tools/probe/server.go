package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// seen is what the server was asked, as its caller shall see it.
type seen struct {
	Server  string            `json:"server"`
	Client  string            `json:"client"`
	Method  string            `json:"method"`
	Host    string            `json:"host"`
	Path    string            `json:"path"`
	Headers map[string]string `json:"headers"`
	Body    string            `json:"body"`
}

func serve(arguments []string) bool {
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	host, _ := os.Hostname()
	name := flags.String("name", host, "who answers")
	address := parse(flags, arguments)
	server := &http.Server{
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { mirror(*name, w, r) }),
		ReadHeaderTimeout: 10 * time.Second,
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return failed(err)
	}
	// The first line tells the port that the kernel chose for :0.
	fmt.Println("listening on", listener.Addr())
	go func() {
		<-signals()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if server.Shutdown(ctx) != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}()
	return failed(server.Serve(listener))
}

func mirror(name string, w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(io.LimitReader(r.Body, largestBody))
	answer := seen{
		Server: name, Client: r.RemoteAddr, Method: r.Method, Host: r.Host, Path: r.URL.RequestURI(),
		Headers: map[string]string{}, Body: string(body),
	}
	for header, values := range r.Header {
		answer.Headers[strings.ToLower(header)] = strings.Join(values, ", ")
	}
	status := http.StatusOK
	if text, found := strings.CutPrefix(r.URL.Path, "/status/"); found {
		if code, err := strconv.Atoi(text); err == nil && code >= 200 && code <= 599 {
			status = code
		}
	}
	if text, found := strings.CutPrefix(r.URL.Path, "/delay/"); found {
		if delay, err := strconv.Atoi(text); err == nil {
			select {
			case <-time.After(time.Duration(delay) * time.Millisecond):
			case <-r.Context().Done():
			}
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer)
}

func echo(arguments []string) bool {
	flags := flag.NewFlagSet("echo", flag.ContinueOnError)
	listener, err := net.Listen("tcp", parse(flags, arguments))
	if err != nil {
		return failed(err)
	}
	fmt.Println("listening on", listener.Addr())
	go func() {
		<-signals()
		os.Exit(0)
	}()
	for {
		connection, err := listener.Accept()
		if err != nil {
			return failed(err)
		}
		go func() {
			defer connection.Close()
			_, _ = io.Copy(connection, connection)
		}()
	}
}

func failed(err error) bool {
	fmt.Fprintln(os.Stderr, "probe:", err)
	return false
}
