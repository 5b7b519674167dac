package server

// Routes gives the paths under the prefix, N standing for any one segment, and
// the methods that each answers to.
func Routes() map[string][]string {
	out := map[string][]string{}
	for _, r := range routes() {
		out[r.path] = r.methods()
	}
	return out
}

// MaxWatches is how many watches may be open at once.
const MaxWatches = maxWatches
