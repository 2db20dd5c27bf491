//go:build chromium

package e2e

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/winprest/facteur/internal/pgtest"
	"github.com/winprest/facteur/internal/transport/transporttest"
)

// These tests look at the pages for a person in Debian's Chromium. So that no other run skips them silently they have a build
// tag of their own, which .ci/run gives; screenshots go to the folder that FACTEUR_SCREENSHOTS names, if any:
//
//	FACTEUR_SCREENSHOTS=/tmp/pages go test -tags chromium ./internal/e2e -run Chromium

// chromium is a browser without a window, spoken to over a pipe (https://chromedevtools.github.io/devtools-protocol/).
type chromium struct {
	t       *testing.T
	in      *os.File
	out     chan message
	session string
	last    int
	events  []message
}

type message struct {
	ID     int             `json:"id,omitempty"`
	Method string          `json:"method,omitempty"`
	Params json.RawMessage `json:"params,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error,omitempty"`
	SessionID string `json:"sessionId,omitempty"`
}

const browserPatience = 30 * time.Second

func startChromium(t *testing.T) *chromium {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal("Debian's chromium is not installed: apt-get install --no-install-recommends chromium")
	}
	theirIn, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out, theirOut, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--hide-scrollbars", "--user-data-dir="+t.TempDir(), "about:blank")
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
	cmd.ExtraFiles = []*os.File{theirIn, theirOut} // 3 and 4
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirIn.Close()
	theirOut.Close()
	c := &chromium{t: t, in: in, out: make(chan message, 1000)}
	t.Cleanup(func() {
		in.Close()
		cmd.Process.Kill() //nolint:errcheck // it may be gone
		cmd.Wait()         //nolint:errcheck // it was killed
		out.Close()
	})
	go func() {
		defer close(c.out)
		for r := bufio.NewReaderSize(out, 1<<20); ; {
			b, err := r.ReadBytes(0)
			if err != nil {
				return
			}
			var m message
			if json.Unmarshal(b[:len(b)-1], &m) == nil {
				c.out <- m
			}
		}
	}()
	var target struct{ TargetID string }
	c.do("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct{ SessionID string }
	c.do("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	c.session = attached.SessionID
	for _, domain := range []string{"Page", "Network", "Log", "Runtime"} {
		c.do(domain+".enable", nil, nil)
	}
	return c
}

// receive gives the next message.
func (c *chromium) receive(what string) message {
	c.t.Helper()
	select {
	case m, ok := <-c.out:
		if !ok {
			c.t.Fatalf("Chromium ended before %s", what)
		}
		return m
	case <-time.After(browserPatience):
		c.t.Fatalf("Chromium gives no %s", what)
	}
	return message{}
}

// do makes a call. Events that come meanwhile are kept.
func (c *chromium) do(method string, params map[string]any, result any) {
	c.t.Helper()
	c.last++
	if params == nil {
		params = map[string]any{}
	}
	p, err := json.Marshal(params)
	if err != nil {
		c.t.Fatal(err)
	}
	b, err := json.Marshal(message{ID: c.last, Method: method, Params: p, SessionID: c.session})
	if err != nil {
		c.t.Fatal(err)
	}
	if _, err := c.in.Write(append(b, 0)); err != nil {
		c.t.Fatal(err)
	}
	for {
		m := c.receive(method)
		if m.ID != c.last {
			c.events = append(c.events, m)
			continue
		}
		if m.Error != nil {
			c.t.Fatalf("%s: %s", method, m.Error.Message)
		}
		if result != nil {
			if err := json.Unmarshal(m.Result, result); err != nil {
				c.t.Fatal(err)
			}
		}
		return
	}
}

// loads runs act, which makes the page load another, and waits until that is there.
func (c *chromium) loads(act func()) {
	c.t.Helper()
	c.events = nil
	act()
	for {
		if slices.ContainsFunc(c.events, func(m message) bool { return m.Method == "Page.loadEventFired" }) {
			return
		}
		c.events = append(c.events, c.receive("page"))
	}
}

func (c *chromium) open(url string) {
	c.t.Helper()
	c.loads(func() { c.do("Page.navigate", map[string]any{"url": url}, nil) })
}

// eval runs an expression in the page.
func (c *chromium) eval(expression string, result any) {
	c.t.Helper()
	var r struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails json.RawMessage
	}
	c.do("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true}, &r)
	if r.ExceptionDetails != nil {
		c.t.Fatalf("%s: %s", expression, r.ExceptionDetails)
	}
	if result != nil {
		if err := json.Unmarshal(r.Result.Value, result); err != nil {
			c.t.Fatalf("%s: %v: %s", expression, err, r.Result.Value)
		}
	}
}

// press moves the focus to the page's one action with the keyboard, and presses it.
func (c *chromium) press() {
	c.t.Helper()
	key := func(name string, code int, text string) {
		for _, kind := range []string{"keyDown", "keyUp"} {
			params := map[string]any{"type": kind, "key": name, "code": name, "windowsVirtualKeyCode": code}
			if kind == "keyDown" && text != "" {
				params["text"] = text
			}
			c.do("Input.dispatchKeyEvent", params, nil)
		}
	}
	c.loads(func() {
		key("Tab", 9, "")
		var focus string
		c.eval("document.activeElement.className", &focus)
		if focus != "action" {
			c.t.Errorf("the keyboard reaches %q", focus)
		}
		key("Enter", 13, "\r")
	})
}

type window struct {
	name          string
	width, height int
	dark          bool
}

var windows = []window{{"desktop", 1280, 800, false}, {"narrow", 320, 640, false}, {"dark", 400, 760, true}}

func (c *chromium) resize(w window) {
	c.t.Helper()
	c.do("Emulation.setDeviceMetricsOverride", map[string]any{"width": w.width, "height": w.height, "deviceScaleFactor": 1, "mobile": w.width < 500}, nil)
	scheme := "light"
	if w.dark {
		scheme = "dark"
	}
	c.do("Emulation.setEmulatedMedia", map[string]any{"features": []any{map[string]any{"name": "prefers-color-scheme", "value": scheme}}}, nil)
}

// look takes a screenshot in every window, and says what a person would mind.
func (c *chromium) look(name, language string) {
	c.t.Helper()
	for _, w := range windows {
		c.resize(w)
		var page struct {
			Lang, Title, Heading, Font string
			Wide, Small                bool
			Contrast                   float64
		}
		c.eval(`(() => {
			const luminance = c => { const [r, g, b] = c.match(/[\d.]+/g).slice(0, 3).map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b }
			const contrast = (a, b) => { const [x, y] = [luminance(a), luminance(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05) }
			const paper = getComputedStyle(document.querySelector("main")).backgroundColor
			const texts = [...document.querySelectorAll("h1, p, dt, dd")].map(e => contrast(getComputedStyle(e).color, paper))
			const actions = [...document.querySelectorAll(".action")]
			for (const e of actions) texts.push(contrast(getComputedStyle(e).color, getComputedStyle(e).backgroundColor))
			return {lang: document.documentElement.lang, title: document.title, heading: document.querySelector("h1").textContent, font: getComputedStyle(document.body).fontFamily,
				wide: document.documentElement.scrollWidth > document.documentElement.clientWidth, small: actions.some(e => e.getBoundingClientRect().height < 44), contrast: Math.min(...texts)}
		})()`, &page)
		if page.Lang != language || page.Title == "" || page.Title != page.Heading || !strings.Contains(page.Font, "system-ui") || page.Wide || page.Small || page.Contrast < 4.5 {
			c.t.Errorf("%s in the %s window: %+v", name, w.name, page) // 4.5: WCAG 2.2 success criterion 1.4.3
		}
		var shot struct{ Data string }
		c.do("Page.captureScreenshot", map[string]any{"captureBeyondViewport": true}, &shot)
		png, err := base64.StdEncoding.DecodeString(shot.Data)
		if err != nil || len(png) < 1000 {
			c.t.Fatalf("screenshot: %d bytes, %v", len(png), err)
		}
		if dir := os.Getenv("FACTEUR_SCREENSHOTS"); dir != "" {
			if err := os.MkdirAll(dir, 0o700); err != nil {
				c.t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%s-%s-%s.png", name, language, w.name)), png, 0o600); err != nil {
				c.t.Fatal(err)
			}
		}
	}
	// Nothing was blocked by the page's policy, and nothing came from elsewhere.
	for _, m := range c.events {
		switch m.Method {
		case "Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown":
			if !strings.Contains(string(m.Params), "favicon.ico") && !strings.Contains(string(m.Params), "status of 4") && !strings.Contains(string(m.Params), "status of 5") {
				c.t.Errorf("%s: %s", name, m.Params)
			}
		case "Network.requestWillBeSent":
			var sent struct{ Request struct{ URL string } }
			if err := json.Unmarshal(m.Params, &sent); err != nil {
				c.t.Fatal(err)
			}
			u, err := url.Parse(sent.Request.URL)
			if err != nil || u.Hostname() != "127.0.0.1" {
				c.t.Errorf("%s asks for %s", name, sent.Request.URL)
			}
		}
	}
}

func TestChromiumConnects(t *testing.T) {
	g := transporttest.StartGoogle(t, transporttest.GoogleConfig{Accounts: []transporttest.GoogleAccount{{Address: gmailAddress}, {Address: "private@gmail.example"}}})
	in := installGmail(t, pgtest.SQLite(t), g)
	s := in.start()
	profile := s.gmailProfile(1)
	c := startChromium(t)
	for _, language := range []string{"fr", "nl", "en", "de"} {
		start := s.consentURL(profile, language)
		c.open(start)
		c.look("1-start", language)
		c.press()
		var google string
		c.eval("document.title", &google)
		if !strings.Contains(google, "Consent") {
			t.Fatalf("the button leads to %q", google)
		}
		c.loads(func() { c.eval(`document.getElementById("approve").click()`, nil) })
		c.look("2-connected", language)
		if auth := s.must("GET", "/v1/sender-profiles/"+profile+"/authorization", nil); auth["state"] != "connected" {
			t.Errorf("authorization: %v", auth)
		}

		// Back in the history, and everything that can go wrong in a person's hands.
		c.open(start)
		c.look("3-used", language)
		for name, decide := range map[string]string{
			"4-denied":        `document.getElementById("deny").click()`,
			"5-unticked":      `document.querySelectorAll("[type=checkbox]").forEach(e => e.checked = false); document.getElementById("approve").click()`,
			"6-other-account": `document.querySelector('[value="private@gmail.example"]').checked = true; document.getElementById("approve").click()`,
		} {
			c.open(s.consentURL(profile, language))
			c.press()
			c.loads(func() { c.eval(decide, nil) })
			c.look(name, language)
		}
		c.open(s.base + "/oauth/google/callback?state=forged&code=forged")
	}
	// A second browser does not finish what the first began.
	first, second := startChromium(t), startChromium(t)
	first.open(s.consentURL(profile, "fr"))
	first.press()
	var asked string
	first.eval("location.href", &asked)
	back, err := g.Decide(t.Context(), asked, transporttest.GoogleDecision{})
	if err != nil {
		t.Fatal(err)
	}
	second.open(back.String())
	second.look("7-other-browser", "fr")
}
