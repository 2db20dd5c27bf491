package transporttest

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"slices"
	"strings"
)

const (
	loginGood    = "235 2.7.0 welcome"
	loginBad     = "535 5.7.8 user name or password is wrong"
	loginStopped = "501 5.7.0 login stopped"
	scramRounds  = 4096
)

// auth is the server's side of AUTH (RFC 4954).
func (c *smtpConn) auth(arg string) string {
	name, initial, given := strings.Cut(arg, " ")
	name = strings.ToUpper(name)
	if len(c.server.cfg.Users) == 0 || !slices.Contains(c.server.cfg.Mechanisms, name) {
		return "504 5.5.4 no such mechanism"
	}
	first := func() (string, bool) { // the initial response, asked for when it did not come with AUTH
		if !given {
			return c.challenge("")
		}
		return decode(initial)
	}
	var user string
	var ok bool
	switch name {
	case "PLAIN":
		r, good := first()
		if !good {
			return loginStopped
		}
		if parts := strings.Split(r, "\x00"); len(parts) == 3 {
			user, ok = parts[1], c.knows(parts[1], parts[2])
		}
	case "LOGIN":
		u, good := c.challenge("Username:")
		if !good {
			return loginStopped
		}
		p, good := c.challenge("Password:")
		if !good {
			return loginStopped
		}
		user, ok = u, c.knows(u, p)
	case "XOAUTH2":
		r, good := first()
		if !good {
			return loginStopped
		}
		u, rest, _ := strings.Cut(strings.TrimPrefix(r, "user="), "\x01")
		token := strings.TrimSuffix(strings.TrimPrefix(rest, "auth=Bearer "), "\x01\x01")
		if user, ok = u, c.knows(u, token); !ok {
			c.challenge(`{"status":"400","schemes":"Bearer"}`)
		}
	case "CRAM-MD5":
		nonce := "<" + rand.Text() + "@sink.example>"
		r, good := c.challenge(nonce)
		if !good {
			return loginStopped
		}
		u, digest, _ := strings.Cut(r, " ")
		mac := hmac.New(md5.New, []byte(c.server.cfg.Users[u]))
		mac.Write([]byte(nonce))
		user, ok = u, c.server.cfg.Users[u] != "" && hmac.Equal([]byte(digest), []byte(hex.EncodeToString(mac.Sum(nil))))
	case "SCRAM-SHA-1":
		user, ok = c.scram(sha1.New, first)
	case "SCRAM-SHA-256":
		user, ok = c.scram(sha256.New, first)
	}
	if !ok {
		return loginBad
	}
	c.user = user
	return loginGood
}

func (c *smtpConn) knows(user, secret string) bool {
	want, ok := c.server.cfg.Users[user]
	return ok && subtle.ConstantTimeCompare([]byte(want), []byte(secret)) == 1
}

// scram is RFC 5802 without channel binding.
func (c *smtpConn) scram(h func() hash.Hash, first func() (string, bool)) (user string, ok bool) {
	clientFirst, good := first()
	bare, isGS2 := strings.CutPrefix(clientFirst, "n,,")
	fields := scramFields(bare)
	password, known := c.server.cfg.Users[fields["n"]]
	if !good || !isGS2 || !known {
		return "", false
	}
	salt := []byte(rand.Text())
	nonce := fields["r"] + rand.Text()
	serverFirst := fmt.Sprintf("r=%s,s=%s,i=%d", nonce, base64.StdEncoding.EncodeToString(salt), scramRounds)
	final, good := c.challenge(serverFirst)
	if !good {
		return "", false
	}
	without, proofText, _ := strings.Cut(final, ",p=")
	proof, err := base64.StdEncoding.DecodeString(proofText)
	salted, keyErr := pbkdf2.Key(h, password, salt, scramRounds, h().Size())
	if err != nil || keyErr != nil || scramFields(final)["r"] != nonce || len(proof) != len(salted) {
		return "", false
	}
	sum := func(key, text []byte) []byte {
		m := hmac.New(h, key)
		m.Write(text)
		return m.Sum(nil)
	}
	message := []byte(bare + "," + serverFirst + "," + without)
	clientKey := sum(salted, []byte("Client Key"))
	stored := h()
	stored.Write(clientKey)
	signature := sum(stored.Sum(nil), message)
	for i := range proof {
		proof[i] ^= signature[i]
	}
	if !hmac.Equal(proof, clientKey) {
		return "", false
	}
	verifier := sum(sum(salted, []byte("Server Key")), message)
	_, good = c.challenge("v=" + base64.StdEncoding.EncodeToString(verifier))
	return fields["n"], good
}

func scramFields(s string) map[string]string {
	out := map[string]string{}
	for f := range strings.SplitSeq(s, ",") {
		k, v, _ := strings.Cut(f, "=")
		out[k] = v
	}
	return out
}

// challenge asks and reads the answer; false when the client gives up.
func (c *smtpConn) challenge(text string) (string, bool) {
	c.reply("334 " + base64.StdEncoding.EncodeToString([]byte(text)))
	if c.bw.Flush() != nil {
		c.over = true
		return "", false
	}
	line, err := c.br.ReadString('\n')
	if err != nil {
		c.over = true
		return "", false
	}
	return decode(strings.TrimRight(line, "\r\n"))
}

func decode(s string) (string, bool) {
	if s == "=" {
		return "", true
	}
	b, err := base64.StdEncoding.DecodeString(s)
	return string(b), err == nil
}
