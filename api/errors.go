package api

import (
	"errors"
	"fmt"
	"net/http"
	"time"
)

// Error is what the API answers when it does not do what was asked.
type Error struct {
	Code    int    `json:"code"` // the HTTP status
	Message string `json:"message"`
	// Problems is what is wrong with a unit file, when that is the reason.
	Problems []Problem `json:"problems,omitempty"`

	// RetryAfter is when asking again may help; 0 if it won't.
	RetryAfter time.Duration `json:"-"`
}

// Problem is one thing that is wrong with a unit.
type Problem struct {
	Line    int    `json:"line,omitempty"` // of the unit file; 0 if it isn't about a line
	Option  string `json:"option,omitempty"`
	Message string `json:"message"`
	Remedy  string `json:"remedy,omitempty"`
}

// Failure is the body in which an Error travels.
type Failure struct {
	Error Error `json:"error"`
}

// Error is the message.
func (e *Error) Error() string {
	if e.Message != "" {
		return e.Message
	}
	return fmt.Sprintf("fleetd answered %d %s", e.Code, http.StatusText(e.Code))
}

// IsNotFound reports whether the error says that there is no such thing.
func IsNotFound(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == http.StatusNotFound
}
