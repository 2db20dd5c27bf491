//go:build postfix

package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	"net/http"
	netmail "net/mail"
	"os"
	"os/exec"
	osuser "os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/winprest/facteur/internal/demo"
	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/pgtest"
)

// These tests send through a real Postfix. It needs root, to change to its own users, and Debian, to be installed when it is
// not there. So that no other run skips them silently they have a build tag of their own, which .ci/run gives:
//
//	go test -tags postfix ./internal/e2e -run Postfix

// postfix is a Postfix of the test's own, on loopback, with STARTTLS and a login, that delivers everything to one Maildir.
type postfix struct {
	t       *testing.T
	dir     string
	port    int
	ca      string // PEM
	maildir string
}

const postfixUser, postfixPassword = "billing", "päss wörd \"1\""

// startPostfix installs Postfix when it is missing and runs one from a folder of its own; nothing of the system's is used.
func startPostfix(t *testing.T) *postfix {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("Postfix changes its user and must be started by root: run this test as root")
	}
	installPostfix(t)
	// t.TempDir is closed to other users, such as Postfix's own.
	dir, err := os.MkdirTemp("", "facteur-postfix-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	p := &postfix{t: t, dir: dir, maildir: filepath.Join(dir, "mail", "all", "new")}
	p.port = freePort(t)
	uid, gid := numbersOf(t, "postfix")
	for _, folder := range []struct {
		name  string
		owner int
	}{{"etc", 0}, {"etc/sasl", 0}, {"queue", 0}, {"data", uid}, {"mail", uid}} {
		path := filepath.Join(dir, folder.name)
		p.check(os.Mkdir(path, 0o755))
		p.check(os.Chown(path, folder.owner, 0))
	}
	p.check(os.Chmod(dir, 0o755))
	p.certificate()

	p.write("etc/sasl/smtpd.conf", 0o644, fmt.Sprintf(
		"pwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: %s/sasldb2\nmech_list: PLAIN LOGIN CRAM-MD5 SCRAM-SHA-1 SCRAM-SHA-256\n", dir))
	add := exec.Command("saslpasswd2", "-p", "-c", "-f", filepath.Join(dir, "sasldb2"), "-u", "mail.firm.example", postfixUser)
	add.Stdin = strings.NewReader(postfixPassword)
	p.run(add)
	p.check(os.Chown(filepath.Join(dir, "sasldb2"), uid, gid))

	p.write("etc/main.cf", 0o644, fmt.Sprintf(`compatibility_level = 3.6
myhostname = mail.firm.example
queue_directory = %[1]s/queue
data_directory = %[1]s/data
maillog_file_prefixes = %[1]s
maillog_file = %[1]s/log
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mydestination =
alias_maps =
smtpd_tls_security_level = may
smtpd_tls_auth_only = yes
smtpd_tls_cert_file = %[1]s/cert.pem
smtpd_tls_key_file = %[1]s/key.pem
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = cyrus
smtpd_sasl_path = smtpd
cyrus_sasl_config_path = %[1]s/etc/sasl
smtpd_sasl_local_domain = mail.firm.example
smtpd_relay_restrictions = permit_sasl_authenticated, reject
smtpd_recipient_restrictions = permit_sasl_authenticated, reject
smtpd_peername_lookup = no
virtual_mailbox_domains = static:all
virtual_mailbox_base = %[1]s/mail
virtual_mailbox_maps = static:all/
virtual_uid_maps = static:%[2]d
virtual_gid_maps = static:%[3]d
virtual_minimum_uid = 1
virtual_mailbox_limit = 0
message_size_limit = 50000000
in_flow_delay = 0
`, dir, uid, gid))
	var master strings.Builder
	fmt.Fprintf(&master, "127.0.0.1:%d inet n - n - - smtpd\n", p.port)
	for _, service := range []string{
		"cleanup unix n - n - 0 cleanup", "qmgr unix n - n 300 1 qmgr", "tlsmgr unix - - n 1000? 1 tlsmgr", "rewrite unix - - n - - trivial-rewrite",
		"bounce unix - - n - 0 bounce", "defer unix - - n - 0 bounce", "trace unix - - n - 0 bounce", "verify unix - - n - 1 verify",
		"proxymap unix - - n - - proxymap", "proxywrite unix - - n - 1 proxymap", "smtp unix - - n - - smtp", "relay unix - - n - - smtp",
		"error unix - - n - - error", "retry unix - - n - - error", "discard unix - - n - - discard", "local unix - n n - - local",
		"virtual unix - n n - - virtual", "anvil unix - - n - 1 anvil", "scache unix - - n - 1 scache", "postlog unix-dgram n - n - 1 postlogd",
	} {
		fmt.Fprintln(&master, service)
	}
	p.write("etc/master.cf", 0o644, master.String())

	p.run(exec.Command("postfix", "-c", filepath.Join(dir, "etc"), "start"))
	t.Cleanup(func() {
		p.run(exec.Command("postfix", "-c", filepath.Join(dir, "etc"), "stop"))
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(dir, "log"))
			t.Logf("Postfix's log:\n%s", tail(string(log), 4000))
		}
	})
	eventually(t, 30*time.Second, func() error {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", p.port))
		if err == nil {
			c.Close()
		}
		return err
	})
	return p
}

func installPostfix(t *testing.T) {
	t.Helper()
	there := func() bool {
		_, err1 := exec.LookPath("postfix")
		_, err2 := exec.LookPath("saslpasswd2")
		plugins, _ := filepath.Glob("/usr/lib/*/sasl2/lib*.so")
		return err1 == nil && err2 == nil && strings.Contains(strings.Join(plugins, " "), "libsasldb.so") && strings.Contains(strings.Join(plugins, " "), "libplain.so")
	}
	if there() {
		return
	}
	for _, args := range [][]string{{"update"}, {"install", "-y", "--no-install-recommends", "postfix", "sasl2-bin", "libsasl2-modules", "libsasl2-modules-db"}} {
		cmd := exec.Command("apt-get", args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("Postfix is not installed and could not be: apt-get %s: %v\n%s", args[0], err, tail(string(out), 2000))
		}
	}
	if !there() {
		t.Fatal("Postfix and its SASL modules were installed and are not found")
	}
}

// certificate makes a root and has it sign a certificate for localhost.
func (p *postfix) certificate() {
	p.t.Helper()
	rootKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p.check(err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p.check(err)
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Firm's own root"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "localhost"}, NotBefore: root.NotBefore, NotAfter: root.NotAfter,
		DNSNames: []string{"localhost"}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	rootDER, err := x509.CreateCertificate(rand.Reader, root, root, &rootKey.PublicKey, rootKey)
	p.check(err)
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, root, &key.PublicKey, rootKey)
	p.check(err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	p.check(err)
	p.ca = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: rootDER}))
	p.write("cert.pem", 0o644, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leafDER})))
	p.write("key.pem", 0o600, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})))
}

func (p *postfix) write(name string, mode os.FileMode, content string) {
	p.t.Helper()
	p.check(os.WriteFile(filepath.Join(p.dir, name), []byte(content), mode))
}

func (p *postfix) run(cmd *exec.Cmd) {
	p.t.Helper()
	if out, err := cmd.CombinedOutput(); err != nil {
		log, _ := os.ReadFile(filepath.Join(p.dir, "log"))
		p.t.Fatalf("%v: %v\n%s%s", cmd.Args, err, out, tail(string(log), 2000))
	}
}

func (p *postfix) check(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// delivered are the mails in the Maildir by Message-ID, as they were delivered.
func (p *postfix) delivered() map[string][]byte {
	p.t.Helper()
	files, err := filepath.Glob(filepath.Join(p.maildir, "*"))
	p.check(err)
	mails := map[string][]byte{}
	for _, path := range files {
		raw, err := os.ReadFile(path)
		p.check(err)
		m, err := netmail.ReadMessage(bytes.NewReader(raw))
		p.check(err)
		id := m.Header.Get("Message-Id")
		if mails[id] != nil {
			p.t.Errorf("%s was delivered twice", id)
		}
		mails[id] = raw
	}
	return mails
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func numbersOf(t *testing.T, name string) (uid, gid int) {
	t.Helper()
	u, err := osuser.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	uid, err1 := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	if err1 != nil || err2 != nil {
		t.Fatal(u)
	}
	return uid, gid
}

// TestPostfix sends a batch of invoices, each with its PDF and its XML, through a real Postfix, and compares what was
// delivered: every byte after Postfix's own header fields, and every file by its SHA-256.
func TestPostfix(t *testing.T) {
	pgtest.Both(t, func(t *testing.T, url string) {
		invoices, own := 100, ownFiles(t)
		if own != nil {
			invoices = 30 // a request has room for no more of such size
		}
		server := startPostfix(t)
		in := install(t, url)
		s := in.start()

		// First as a person begins: without the root, then with a typing error.
		profile := s.smtpProfile(fmt.Sprintf("localhost:%d", server.port), 4, map[string]any{
			"security": "starttls", "auth": "auto", "username": postfixUser, "password": "pass word",
		})
		path := "/v1/sender-profiles/" + profile
		check := func(want bool, code string) {
			t.Helper()
			answer := s.must("POST", path+"/check", nil)
			steps := answer["steps"].([]any)
			last := steps[len(steps)-1].(map[string]any)
			if answer["ok"] != want || code != "" && object(last, "problem")["code"] != code && last["code"] != code {
				t.Errorf("check: %v, want %t %s", answer, want, code)
			}
		}
		check(false, "smtp_certificate_invalid")
		s.must("PATCH", path, map[string]any{"smtp": map[string]any{"ca_certificates": server.ca}})
		check(false, "smtp_login_refused")
		s.must("PATCH", path, map[string]any{"smtp": map[string]any{"password": postfixPassword}})
		check(true, "")

		samples := map[string]demo.Sample{} // by subject
		var messages []any
		for n := range invoices {
			sample, err := demo.NewSample(n + 1)
			if err != nil {
				t.Fatal(err)
			}
			if len(own) > 0 {
				sample.PDF, sample.UBL = own[".pdf"][n%len(own[".pdf"])], own[".xml"][n%len(own[".xml"])]
			}
			subject := "Facture " + sample.Number + " à régler €"
			samples[subject] = sample
			messages = append(messages, map[string]any{
				"to": []any{map[string]any{"name": sample.Name, "address": sample.Address}}, "subject": subject, "language": sample.Language,
				"html": "<p>Bonjour " + sample.Name + ",</p>\n<p>.\n..un point\n</p>",
				"attachments": []any{
					map[string]any{"filename": sample.FileBase + ".pdf", "kind": "invoice_pdf", "content": base64.StdEncoding.EncodeToString(sample.PDF)},
					map[string]any{"filename": sample.FileBase + " é.xml", "kind": "ubl", "content": base64.StdEncoding.EncodeToString(sample.UBL)},
				},
			})
		}
		job := s.must("POST", "/v1/send-jobs", map[string]any{"sender_profile_id": profile, "messages": messages})["id"].(string)
		if counts := in.awaitDone(job, invoices); counts[mail.StatusSent] != invoices {
			t.Fatalf("counts %v", counts)
		}
		eventually(t, time.Minute, func() error { // Postfix has taken them; it delivers in its own time
			if n := len(server.delivered()); n != invoices {
				return fmt.Errorf("%d of %d delivered", n, invoices)
			}
			return nil
		})
		files, total := 0, 0
		for id, raw := range server.delivered() {
			m, err := netmail.ReadMessage(bytes.NewReader(raw))
			if err != nil {
				t.Fatal(err)
			}
			if received := m.Header.Get("Received"); !strings.Contains(received, "ESMTPSA") {
				t.Errorf("%s came without TLS or login: %s", id, received)
			}
			subject, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
			sample, ok := samples[subject]
			if err != nil || !ok {
				t.Fatalf("subject %q: %v", subject, err)
			}
			delete(samples, subject)
			if to, err := netmail.ParseAddress(m.Header.Get("To")); err != nil || to.Address != sample.Address || to.Name != sample.Name {
				t.Errorf("%s went to %s: %v", subject, m.Header.Get("To"), err)
			}
			got := map[string][sha256.Size]byte{}
			filesOf(t, m.Header.Get("Content-Type"), "", m.Header.Get("Content-Transfer-Encoding"), m.Body, got)
			want := map[string][sha256.Size]byte{sample.FileBase + ".pdf": sha256.Sum256(sample.PDF), sample.FileBase + " é.xml": sha256.Sum256(sample.UBL)}
			for name, sum := range want {
				if got[name] != sum {
					t.Errorf("%s: %s is not what was sent", subject, name)
				}
			}
			if len(got) != len(want) {
				t.Errorf("%s has %d files", subject, len(got))
			}
			files += len(got)
			total += len(raw)
		}
		for subject := range samples {
			t.Errorf("%s did not arrive", subject)
		}
		s.compareRaw(job, server.delivered())
		t.Logf("%d mails through Postfix with STARTTLS and login, each once; %d attachments are byte for byte what was sent (SHA-256); %d KB", invoices, files, total/1000)
	})
}

// compareRaw holds what the API says was sent against what was delivered behind Postfix's own header fields.
func (s *service) compareRaw(job string, delivered map[string][]byte) {
	s.in.t.Helper()
	sc := scene{service: s, job: job}
	for _, m := range sc.messages("en") {
		req, err := http.NewRequest("GET", s.base+"/v1/messages/"+m["id"].(string)+"/raw", nil)
		if err != nil {
			s.in.t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+s.in.key)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			s.in.t.Fatal(err)
		}
		raw, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			s.in.t.Fatal(err)
		}
		parsed, err := netmail.ReadMessage(bytes.NewReader(raw))
		if err != nil {
			s.in.t.Fatal(err)
		}
		// Mail is stored with the system's line ends.
		if !bytes.HasSuffix(delivered[parsed.Header.Get("Message-Id")], bytes.ReplaceAll(raw, []byte("\r\n"), []byte("\n"))) {
			s.in.t.Errorf("%s was not delivered as the API shows it", m["id"])
		}
	}
}

// ownFiles are the PDF and XML files of the folder that FACTEUR_E2E_INVOICES names, by extension, to try a firm's real ones in
// place of the samples.
func ownFiles(t *testing.T) map[string][][]byte {
	t.Helper()
	dir := os.Getenv("FACTEUR_E2E_INVOICES")
	if dir == "" {
		return nil
	}
	files := map[string][][]byte{}
	for _, ext := range []string{".pdf", ".xml"} {
		names, err := filepath.Glob(filepath.Join(dir, "*"+ext))
		if err != nil || len(names) == 0 {
			t.Fatalf("no %s files in %s: %v", ext, dir, err)
		}
		for _, name := range names {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			files[ext] = append(files[ext], b)
		}
	}
	return files
}

// filesOf collects the SHA-256 of every attached file below a part, by its name, with nothing but the standard library.
func filesOf(t *testing.T, contentType, disposition, encoding string, body io.Reader, into map[string][sha256.Size]byte) {
	t.Helper()
	media, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		t.Fatalf("%s: %v", contentType, err)
	}
	if strings.HasPrefix(media, "multipart/") {
		for parts := multipart.NewReader(body, params["boundary"]); ; {
			part, err := parts.NextRawPart()
			if err == io.EOF {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			filesOf(t, part.Header.Get("Content-Type"), part.Header.Get("Content-Disposition"), part.Header.Get("Content-Transfer-Encoding"), part, into)
		}
	}
	switch strings.ToLower(encoding) {
	case "base64":
		body = base64.NewDecoder(base64.StdEncoding, body)
	case "quoted-printable":
		body = quotedprintable.NewReader(body)
	}
	content, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	if kind, params, err := mime.ParseMediaType(disposition); err == nil && kind == "attachment" {
		into[params["filename"]] = sha256.Sum256(content)
	}
}
