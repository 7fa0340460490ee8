package docs

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"text/template"
)

var update = flag.Bool("update", false, "draw docs/images/architecture-*.svg anew")

// palette is the colours of the architecture's drawing.
type palette struct {
	Ink, Quiet, Paper, Edge string
	Region, RegionEdge      string
	Pool, PoolFill          string
	Flow, FlowFill          string
	Table, TableFill        string
}

// schemes are drawn from one template each, because a picture that GitHub
// shows does not know the scheme of the page around it.
var schemes = map[string]palette{
	"light": {
		Ink: "#1b2733", Quiet: "#4d5966", Paper: "#ffffff", Edge: "#5b6875", Region: "#f6f8fa", RegionEdge: "#8a96a3",
		Pool: "#b3261e", PoolFill: "#fdf0ee", Flow: "#0a5bb5", FlowFill: "#eaf3fd", Table: "#0a7d33", TableFill: "#e9f7ee",
	},
	"dark": {
		Ink: "#e6edf3", Quiet: "#b3bfca", Paper: "#161d26", Edge: "#93a1af", Region: "#0f141b", RegionEdge: "#5b6875",
		Pool: "#ff8a80", PoolFill: "#35191a", Flow: "#79b8ff", FlowFill: "#12283f", Table: "#56d07c", TableFill: "#12301d",
	},
}

// TestArchitecture says that the pictures are what their template draws.
func TestArchitecture(t *testing.T) {
	drawing, err := template.ParseFiles(filepath.Join(root, "docs/images/architecture.svg.tmpl"))
	if err != nil {
		t.Fatal(err)
	}
	for name, colours := range schemes {
		var want bytes.Buffer
		if err := drawing.Execute(&want, colours); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(root, "docs/images", "architecture-"+name+".svg")
		if *update {
			if err := os.WriteFile(path, want.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		have, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(have, want.Bytes()) {
			t.Errorf("%s differs from its template: go test ./test/docs -run TestArchitecture -update", path)
		}
	}
}
