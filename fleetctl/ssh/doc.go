// Package ssh runs commands on the cluster's hosts and makes connections through
// them, by SSH: keys from the user's agent, hosts checked against a known_hosts
// file. It knows nothing of fleet.
package ssh
