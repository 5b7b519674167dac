// Command client speaks to a fleetd through a client that was generated from
// fleetd's own description of its API. It is a module of its own: fleet depends
// on no generator.
//
// Generate the client, from the fleetd of this host, and run it:
//
//	curl -s --unix-socket /var/run/fleet.sock http://fleetd/fleet/v1/discovery >openapi.json
//	mkdir -p fleet && go generate && go run . /var/run/fleet.sock
//
// It makes units named generated-client@*.service, none of which starts anything,
// changes the metadata "generated-client" of a machine, and takes all of it away.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"slices"

	"github.com/fleet-project/fleet/examples/client/fleet"
)

// count is how many units are made: more than a page of them.
const count = 7

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: client SOCKET")
	}
	if err := run(context.Background(), os.Args[1]); err != nil {
		log.Fatal(err)
	}
	fmt.Println("all is well")
}

func run(ctx context.Context, socket string) error {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
	c, err := fleet.NewClientWithResponses("http://fleetd/fleet/v1",
		fleet.WithHTTPClient(&http.Client{Transport: &http.Transport{DialContext: dial}}))
	if err != nil {
		return err
	}
	for _, step := range []struct {
		name string
		do   func(context.Context, *fleet.ClientWithResponses) error
	}{
		{"create", create}, {"refuse", refuse}, {"list", list}, {"get", get}, {"change", change}, {"machines", machines}, {"destroy", destroy},
	} {
		if err := step.do(ctx, c); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		fmt.Println(step.name)
	}
	return nil
}

// name has an escape in it, as unit names of paths do.
func name(i int) string { return fmt.Sprintf(`generated\x2dclient@%d.service`, i) }

// expect compares an answer's status; an error's body says why it differs.
func expect(status, want int, body []byte) error {
	if status != want {
		return fmt.Errorf("answered %d, not %d: %s", status, want, body)
	}
	return nil
}

func create(ctx context.Context, c *fleet.ClientWithResponses) error {
	options := []fleet.Option{{Section: "Service", Name: "ExecStart", Value: "/bin/true"}}
	inactive := fleet.DesiredStateInactive
	for i := range count {
		resp, err := c.PutUnitWithResponse(ctx, name(i), fleet.UnitRequest{Options: &options, DesiredState: &inactive})
		if err != nil {
			return err
		}
		if err := expect(resp.StatusCode(), http.StatusCreated, resp.Body); err != nil {
			return err
		}
	}
	return nil
}

// refuse checks that errors come in the shape that the description gives them.
func refuse(ctx context.Context, c *fleet.ClientWithResponses) error {
	text, inactive := "rubbish\n", fleet.DesiredStateInactive
	resp, err := c.PutUnitWithResponse(ctx, name(0), fleet.UnitRequest{Text: &text, DesiredState: &inactive})
	if err != nil {
		return err
	}
	if err := expect(resp.StatusCode(), http.StatusBadRequest, resp.Body); err != nil {
		return err
	}
	e := resp.JSON400
	if e == nil || e.Error.Code != http.StatusBadRequest || e.Error.Message == "" || e.Error.Problems == nil || *(*e.Error.Problems)[0].Line != 1 {
		return fmt.Errorf("an error without code, message or the problem's line: %s", resp.Body)
	}
	missing, err := c.GetUnitWithResponse(ctx, "no-such.service")
	if err != nil {
		return err
	}
	if missing.JSON404 == nil || missing.JSON404.Error.Code != http.StatusNotFound {
		return fmt.Errorf("no error for a unit that does not exist: %s", missing.Body)
	}
	return nil
}

func list(ctx context.Context, c *fleet.ClientWithResponses) error {
	limit, pages := 3, 0
	var got []string
	params := &fleet.ListUnitsParams{Limit: &limit}
	for {
		resp, err := c.ListUnitsWithResponse(ctx, params)
		if err != nil {
			return err
		}
		if resp.JSON200 == nil {
			return expect(resp.StatusCode(), http.StatusOK, resp.Body)
		}
		pages++
		for _, u := range resp.JSON200.Units {
			got = append(got, u.Name)
		}
		if params.NextPageToken = resp.JSON200.NextPageToken; params.NextPageToken == nil {
			break
		}
	}
	for i := range count {
		if !slices.Contains(got, name(i)) {
			return fmt.Errorf("%s is missing of %v", name(i), got)
		}
	}
	if pages < 3 {
		return fmt.Errorf("%d units came in %d pages of %d", len(got), pages, limit)
	}
	return nil
}

func get(ctx context.Context, c *fleet.ClientWithResponses) error {
	resp, err := c.GetUnitWithResponse(ctx, name(1))
	if err != nil {
		return err
	}
	u := resp.JSON200
	if u == nil || u.Name != name(1) || *u.DesiredState != fleet.DesiredStateInactive || *u.Text != "[Service]\nExecStart=/bin/true\n" || (*u.Options)[0].Value != "/bin/true" {
		return fmt.Errorf("not the unit that was made: %s", resp.Body)
	}
	return nil
}

func change(ctx context.Context, c *fleet.ClientWithResponses) error {
	loaded := fleet.DesiredStateLoaded
	put, err := c.PutUnitWithResponse(ctx, name(1), fleet.UnitRequest{DesiredState: &loaded})
	if err != nil {
		return err
	}
	if err := expect(put.StatusCode(), http.StatusNoContent, put.Body); err != nil {
		return err
	}
	explained, err := c.ExplainUnitWithResponse(ctx, name(1))
	if err != nil {
		return err
	}
	if explained.JSON200 == nil || explained.JSON200.Summary == "" {
		return fmt.Errorf("no explanation: %s", explained.Body)
	}
	restarted, err := c.RestartUnitWithResponse(ctx, name(1), nil)
	if err != nil {
		return err
	}
	return expect(restarted.StatusCode(), http.StatusAccepted, restarted.Body)
}

func machines(ctx context.Context, c *fleet.ClientWithResponses) error {
	all, err := c.ListMachinesWithResponse(ctx, nil)
	if err != nil {
		return err
	}
	if all.JSON200 == nil || len(all.JSON200.Machines) == 0 {
		return fmt.Errorf("no machines: %s", all.Body)
	}
	id := all.JSON200.Machines[0].Id
	var value fleet.PatchOperation_Value
	if err := value.FromPatchOperationValue0("yes"); err != nil {
		return err
	}
	path := "/" + id + "/metadata/generated-client"
	for _, op := range []fleet.PatchOperation{{Op: fleet.Add, Path: path, Value: &value}, {Op: fleet.Remove, Path: path}} {
		patched, err := c.PatchMachinesWithResponse(ctx, []fleet.PatchOperation{op})
		if err != nil {
			return err
		}
		if err := expect(patched.StatusCode(), http.StatusNoContent, patched.Body); err != nil {
			return err
		}
		all, err := c.ListMachinesWithResponse(ctx, nil)
		if err != nil {
			return err
		}
		has := ""
		if md := all.JSON200.Machines[0].Metadata; md != nil {
			has = (*md)["generated-client"]
		}
		if (has == "yes") != (op.Op == fleet.Add) {
			return fmt.Errorf("after %s the machine has %q", op.Op, has)
		}
	}
	return nil
}

func destroy(ctx context.Context, c *fleet.ClientWithResponses) error {
	for i := range count {
		resp, err := c.DeleteUnitWithResponse(ctx, name(i))
		if err != nil {
			return err
		}
		if err := expect(resp.StatusCode(), http.StatusNoContent, resp.Body); err != nil {
			return err
		}
	}
	resp, err := c.DeleteUnitWithResponse(ctx, name(0))
	if err == nil && resp.JSON404 == nil {
		err = errors.New("a unit was destroyed twice")
	}
	return err
}
