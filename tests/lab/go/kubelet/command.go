package main

// Defines how a command is run: as a process, with pipes or on a terminal, that ends with this program.

import (
	"errors"
	"io"
	"os/exec"
	"runtime"
	"syscall"

	"github.com/creack/pty"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"
)

// A shell's way to give a signal as an exit code.
const signalled = 128

// run gives nil, or an exit code as an utilexec.ExitError, which the streaming library reports as such.
func run(words []string, stdin io.Reader, stdout, stderr io.WriteCloser, tty bool,
	resize <-chan remotecommand.TerminalSize,
) error {
	if len(words) == 0 {
		return errors.New("no command")
	}
	// The kernel sends the death signal when the thread that started the process ends, not the program.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	command := exec.Command(words[0], words[1:]...)
	if tty {
		return exitCode(onTerminal(command, stdin, stdout, resize))
	}
	return exitCode(onPipes(command, stdin, stdout, stderr))
}

func onPipes(command *exec.Cmd, stdin io.Reader, stdout, stderr io.WriteCloser) error {
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	command.Stdout, command.Stderr = stdout, stderr
	if stdin != nil {
		// Not command.Stdin: Wait would wait for the client to end its input, even of an ended command.
		input, err := command.StdinPipe()
		if err != nil {
			return err
		}
		go func() {
			_, _ = io.Copy(input, stdin)
			_ = input.Close()
		}()
	}
	if err := command.Start(); err != nil {
		return err
	}
	err := command.Wait()
	for _, output := range []io.Closer{stdout, stderr} {
		if output != nil {
			_ = output.Close()
		}
	}
	return err
}

func onTerminal(command *exec.Cmd, stdin io.Reader, stdout io.WriteCloser,
	resize <-chan remotecommand.TerminalSize,
) error {
	attributes := &syscall.SysProcAttr{Setsid: true, Setctty: true, Pdeathsig: syscall.SIGKILL}
	terminal, err := pty.StartWithAttrs(command, nil, attributes)
	if err != nil {
		return err
	}
	defer terminal.Close()
	if resize != nil {
		go func() {
			for size := range resize {
				_ = pty.Setsize(terminal, &pty.Winsize{Rows: size.Height, Cols: size.Width})
			}
		}()
	}
	if stdin != nil {
		go func() { _, _ = io.Copy(terminal, stdin) }()
	}
	if stdout != nil {
		// Ends with EIO when the last process on the terminal does.
		_, _ = io.Copy(stdout, terminal)
		_ = stdout.Close()
	}
	return command.Wait()
}

func exitCode(err error) error {
	var ended *exec.ExitError
	if !errors.As(err, &ended) {
		return err
	}
	code := ended.ExitCode()
	if status, ok := ended.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		code = signalled + int(status.Signal())
	}
	return utilexec.CodeExitError{Err: err, Code: code}
}
