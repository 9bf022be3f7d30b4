// Package recoveryplaybooks holds the playbooks that come with Blackstart: data, one folder per playbook, each with a
// manifest, its scripts and a README. server/playbook reads them.
package recoveryplaybooks

import "embed"

// FS has one top-level folder per playbook.
//
//go:embed */*
var FS embed.FS
