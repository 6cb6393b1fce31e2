// Probe is the one program in the pods of the suites: an HTTP client and server, a TCP client and server, and the
// process that holds a pod's namespaces. Static, so that an image needs nothing else. Answers are JSON, one object per
// line; the exit code is 1 when a call failed and 2 when the arguments are wrong.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

const usage = `probe get URL        [-H "Name: value"]... [-X METHOD] [-d BODY] [--expect STATUS] [--timeout 10s] [--repeat N --interval 100ms]
probe load URL       [-H "Name: value"]... [--seconds N] [--workers M] [--interval 0s] [--fresh] [--timeout 10s]
probe serve ADDRESS  [--name NAME]     answers with what it was asked; /status/CODE and /delay/MILLISECONDS too
probe tcp ADDRESS    [--send TEXT] [--timeout 10s]
probe echo ADDRESS                     sends back what it receives
probe dns NAME       [--timeout 10s]
probe pause                            waits for a signal
`

func main() {
	if len(os.Args) < 2 {
		wrong("a command is missing")
	}
	commands := map[string]func([]string) bool{
		"get": get, "load": load, "serve": serve, "tcp": tcp, "echo": echo, "dns": dns, "pause": pause,
	}
	run, known := commands[os.Args[1]]
	if !known {
		wrong("no command " + os.Args[1])
	}
	if !run(os.Args[2:]) {
		os.Exit(1)
	}
}

func wrong(reason string) {
	fmt.Fprintf(os.Stderr, "probe: %s\n%s", reason, usage)
	os.Exit(2)
}

// parse lets options stand before and after the one argument a command has.
func parse(flags *flag.FlagSet, arguments []string) string {
	flags.SetOutput(os.Stderr)
	var plain []string
	for len(arguments) > 0 {
		if err := flags.Parse(arguments); err != nil {
			os.Exit(2)
		}
		if flags.NArg() == 0 {
			break
		}
		plain = append(plain, flags.Arg(0))
		arguments = flags.Args()[1:]
	}
	if len(plain) != 1 {
		wrong(fmt.Sprintf("%s takes one argument, not %d", flags.Name(), len(plain)))
	}
	return plain[0]
}

func timeout(flags *flag.FlagSet) *time.Duration {
	return flags.Duration("timeout", 10*time.Second, "longest wait for one answer")
}

func report(value any) {
	line, err := json.Marshal(value)
	if err != nil {
		wrong(err.Error())
	}
	fmt.Println(string(line))
}

func milliseconds(since time.Time) float64 {
	return float64(time.Since(since).Microseconds()) / 1000
}

func signals() chan os.Signal {
	received := make(chan os.Signal, 1)
	signal.Notify(received, syscall.SIGTERM, syscall.SIGINT)
	return received
}

// pause is process 1 of a pod's namespaces: it collects orphans, which nobody else would.
func pause([]string) bool {
	ended := signals()
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	for {
		select {
		case <-ended:
			return true
		case <-children:
			for {
				if child, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); child <= 0 || err != nil {
					break
				}
			}
		}
	}
}
