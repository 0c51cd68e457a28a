// Scenarios of a framework built on the published mesos-go library, run against
// a real cluster: each prints what it saw and ends with status 0 when all held.
package main

import (
	"flag"
	"fmt"
	"log"
	"os"
	"sort"
)

type config struct {
	master string
	codec  string
	// This program, as agents find it.
	self string
}

var scenarios = map[string]func(config) error{
	"launch":    launch,
	"reconcile": reconcile,
	"failover":  failover,
	"volumes":   volumes,
	"group":     group,
	"exec":      execute,
	"executor":  customExecutor,
	"operator":  operator,
}

func main() {
	log.SetFlags(log.Lmicroseconds)
	if len(os.Args) > 1 && os.Args[1] == "run-executor" {
		runExecutor()
		return
	}
	self, err := os.Executable()
	if err != nil {
		log.Fatal(err)
	}
	c := config{self: self}
	flag.StringVar(&c.master, "master", "http://127.0.0.1:5050", "URL of a master, or of the way to one")
	flag.StringVar(&c.codec, "codec", "protobuf", "protobuf or json")
	flag.StringVar(&c.self, "executor", c.self, "this program, by the path that agents see")
	flag.Parse()
	run, known := scenarios[flag.Arg(0)]
	if !known {
		var names []string
		for name := range scenarios {
			names = append(names, name)
		}
		sort.Strings(names)
		fmt.Fprintf(os.Stderr, "name one scenario of: %v\n", names)
		os.Exit(2)
	}
	if err := run(c); err != nil {
		log.Printf("FAILED %s (%s): %v", flag.Arg(0), c.codec, err)
		os.Exit(1)
	}
	log.Printf("PASSED %s (%s)", flag.Arg(0), c.codec)
}
