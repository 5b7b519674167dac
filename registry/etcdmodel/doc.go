// Package etcdmodel is etcd as fleet uses it, in memory and without goroutines,
// clock or network: revisions, transactions, leases and the history that watches
// tell. It answers etcd's own protocol, so that registry's requests run on it as
// they are. Only simulations use it; etcdtest is the real etcd, for tests.
package etcdmodel
