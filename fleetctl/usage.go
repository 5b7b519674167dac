package main

import (
	"errors"
	"math"
	"strconv"
	"strings"

	"github.com/fleet-project/fleet/unit"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// flagError is for a flag that doesn't exist or has a bad value.
func flagError(cmd *cobra.Command, err error) error {
	if given := cmd.Flags().Args(); cmd == cmd.Root() && len(given) > 0 {
		return unknownCommand(cmd, given[0]) // whose flag it would be
	}
	msg := err.Error()
	var unknown *pflag.NotExistError
	var invalid *pflag.InvalidValueError
	switch {
	case errors.As(err, &unknown):
		given := unknown.GetSpecifiedName()
		if one := unknown.GetSpecifiedShortnames(); one != "" { // a long one with one dash: -fields=unit
			given, _, _ = strings.Cut(one, "=")
		}
		if near := nearestFlag(cmd, given); near != "" && len(given) > 1 {
			msg += " (did you mean --" + near + "?)"
		}
	case errors.As(err, &invalid):
		msg = "--" + invalid.GetFlag().Name + " " + invalid.GetValue() + ": want " + wanted(invalid.GetFlag())
	}
	return usagef("%s\nRun '%s --help' for its flags.", msg, cmd.CommandPath())
}

// nearestFlag gives the flag that was probably meant, "" if there is none.
func nearestFlag(cmd *cobra.Command, given string) string {
	var known []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			known = append(known, f.Name)
		}
	})
	return unit.Closest(given, known)
}

// exits is the annotation by which a command's reference says how it exits,
// where that is not as all commands do.
func exits(how string) map[string]string { return map[string]string{"exit codes": how} }

// wanted says in words what a flag takes.
func wanted(f *pflag.Flag) string {
	switch {
	case f.Name == "ssh-port":
		return "a port, 1 to 65535"
	case f.Value.Type() == "int":
		return "a whole number, 0 or more"
	case f.Value.Type() == "float64":
		return "a number of seconds, 0 or more"
	case f.Value.Type() == "bool":
		return "true or false"
	}
	return "another value"
}

// checkNumbers refuses numbers that mean nothing.
func checkNumbers(flags *pflag.FlagSet) error {
	var err error
	flags.VisitAll(func(f *pflag.Flag) {
		ok := true
		switch f.Value.Type() {
		case "int":
			n, _ := strconv.Atoi(f.Value.String()) // pflag wrote it
			ok = n >= 0 && (f.Name != "ssh-port" || 0 < n && n <= math.MaxUint16)
		case "float64":
			s, _ := strconv.ParseFloat(f.Value.String(), 64)
			ok = 0 <= s && s <= math.MaxInt32 // which NaN isn't
		}
		if !ok && err == nil {
			err = usagef("--%s %s: want %s", f.Name, f.Value, wanted(f))
		}
	})
	return err
}

// unknownCommand suggests what may have been meant.
func unknownCommand(root *cobra.Command, given string) error {
	msg := "unknown command \"" + given + "\""
	var known, completions []string
	for _, sub := range root.Commands() {
		if !sub.IsAvailableCommand() {
			continue
		}
		known = append(known, sub.Name())
		if strings.HasPrefix(sub.Name(), given) {
			completions = append(completions, sub.Name())
		}
	}
	near := unit.Closest(given, known)
	if len(completions) == 1 { // and of a command that is hidden, too
		near = completions[0]
	}
	switch {
	case len(completions) > 1:
		msg += ": it could be " + strings.Join(completions, " or ")
	case near != "":
		msg += ": did you mean " + near + "?"
	}
	return usagef("%s\nRun 'fleetctl help' for all commands.", msg)
}
