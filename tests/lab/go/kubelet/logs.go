package main

// Defines the logs of containers: a line that names the container, and more for those who follow.

import (
	"fmt"
	"net/http"
	"time"
)

func serveLogs(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain")
	fmt.Fprintf(w, "%s/%s/%s started\n",
		r.PathValue("namespace"), r.PathValue("pod"), r.PathValue("container"))
	if r.URL.Query().Get("follow") != "true" {
		return
	}
	flusher := http.NewResponseController(w)
	ticks := time.NewTicker(time.Second)
	defer ticks.Stop()
	for second := 1; flusher.Flush() == nil; second++ {
		select {
		case <-r.Context().Done():
			return
		case <-ticks.C:
			fmt.Fprintf(w, "second %d\n", second)
		}
	}
}
