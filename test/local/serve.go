package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"

	"cognito-backup/test/local/page"
)

// listenForPage opens the port of the page, the one after the endpoint's. It
// comes before the long start so that a taken port is told at once.
func listenForPage(endpoint int) (net.Listener, error) {
	port := endpoint + 1
	if endpoint == 0 {
		port = 0
	}
	if port > 65535 {
		return nil, fmt.Errorf("PORT=%d: the page needs the next port, so give a smaller number", endpoint)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("port %d, which the page needs, is taken by another program: stop that program or choose another PORT", port)
	}
	if err != nil {
		return nil, fmt.Errorf("listen for the page: %w", err)
	}
	return listener, nil
}

// servePage serves the page until it is told to stop.
func servePage(listener net.Listener, bed page.Testbed) (stop func() error, err error) {
	handler, err := page.New(bed)
	if err != nil {
		return nil, err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	go server.Serve(listener)
	return server.Close, nil
}
