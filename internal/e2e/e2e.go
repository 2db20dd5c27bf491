// Package e2e tests the real binary: built once, started as processes of their own, spoken to over HTTP, and killed.
//
// Its tests are about the promises that no package can keep alone: what a process accepted survives its death, nothing is
// sent twice, and bad weather at the mail server costs nobody a mail.
package e2e
