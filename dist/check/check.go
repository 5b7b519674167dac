// Package check holds what an operator's monitoring is given to its word: the
// dashboard and the alerts parse, by Prometheus' own parser, and use no metric
// or label that fleet doesn't have. It is a module of its own, so that fleet
// itself does not depend on Prometheus.
package check
