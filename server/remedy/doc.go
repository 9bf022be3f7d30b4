// Package remedy makes one host well: it runs a playbook's script on it over SSH, or gathers proof from it, and says how
// that ended. It decides nothing and never returns an error: every end is a recovery.Result with a class, a signature that
// groups like failures, and one sentence that says what to do.
//
// # One attempt
//
// An attempt costs one connection. On it an exec of /bin/sh reads the runner (runner.sh) from its stdin and talks with us:
// it finds the state folder, says whether the attempt is claimed already, waits for our go, writes the script into the
// attempt's folder, claims the attempt (an exclusive create), runs the script, and hands over exit and output; then it restarts
// the host if we ask. A script of more than 64 KiB is pushed by SFTP and its digest checked; a smaller one, and any where SFTP
// does not work, comes along with the runner, guarded by SSH itself and by its length. Nothing is claimed before we have said
// go, so what we give up on before that was never started.
//
// A script that runs longer than a second, or whose connection is gone, gets a watchdog on the host that ends it at its limit.
// (So there is one second in which a connection may vanish without a trace and leave the script without one, until the host's
// TCP notices.)
//
// A lost connection, or a coordinator that was killed, changes nothing for the script: the same id asked again joins it. So
// an attempt runs once. (A host whose systemd-logind ends all processes of a login with it, KillUserProcesses=yes, ends the
// script with the connection; that is found out and told as lost.) A host that stopped in mid-run leaves a claim without an exit and without a process; that is
// recovery.Lost, and the same id never runs the script again.
//
// The attempt's folder on the host is STATE/attempts/INCIDENT_HOST_N: the incident is part of it, for ids such as HOST/1
// come again in every incident.
//
// A script runs as "sh FOLDER/script.N" from /, with umask 077 and no stdin, and has PATH, BLACKSTART_ROOT,
// BLACKSTART_ATTEMPT, BLACKSTART_KEEP and LC_ALL=C in its environment and nothing else. At its limit its process group gets
// TERM and two seconds later KILL.
//
// # Races
//
// On a rung of kind race the host is up for seconds now and then. Until the script has been started, and again when the connection is
// lost after that, fresh dials follow each other every quarter of a second (hunt.go), and Poke has the next one made at once. A login
// that is refused as by a host that is half up, and whatever else such a host may answer, counts as not yet for half a minute; another
// host key or a key that is not accepted ends the race. At the end of the window the class is unreachable, with the signature
// "never up for a login", or what kept us from starting when the host was up. Races have turns and deadlines of their own.
//
// # Commands
//
// Exec runs one command beside an attempt, and Await waits for a machine that is starting; server/climb makes hosts ready with them.
//
// # Classes
//
//	what happened                                              class              signature
//	TCP refused, no route, timed out                           unreachable        connection refused, no route, no answer
//	accepts and says nothing                                   unreachable        silent after connecting
//	closes without a banner, or is no SSH server               unreachable        closed before the banner, not an SSH server
//	turns us away before its banner: MaxStartups, penalties    unreachable        too many logins at once
//	drops or stalls in the handshake or in authentication      unreachable        dropped in the handshake, stalled in …
//	knows our key, but is booting or going down (pam_nologin)  unreachable        no logins for now
//	no common algorithm (other than for the host key)          failed             no common algorithm, SSH version one
//	sends more than 2 MiB before we are in                     failed             too much before the login
//	says in authentication what the protocol does not allow    failed             protocol broken
//	the jump host fails in one of these ways                   as above           "jump host: " before it
//	host key unknown, other than known, revoked, bad cert      host-key-mismatch  unknown host key, wrong host key, …
//	host key that cannot be read, or is not held by the host   host-key-mismatch  bad host key
//	no key is accepted                                         auth-refused       no key accepted, too many keys
//	no key would do, or a key alone does not                   auth-refused       keys not taken, second factor wanted
//	our key is accepted, the account is not                    auth-refused       account refused
//	our ssh-agent is silent or does not sign                   auth-refused       ssh-agent does not answer, … sign
//	connection lost before go                                  unreachable        dropped before the start
//	runner silent before go                                    timed-out          shell silent
//	no session, no shell, forced command                       failed             no session, no shell
//	state folder: full, read-only, forbidden, no HOME          failed             disk full, read-only file system, …
//	script: exit 0, result line says repaired                  succeeded
//	script: exit 0, no result line or another outcome          failed             no result line, exit 0 without a repair
//	script: exit 10                                            nothing-found
//	script: exit 11                                            failed             expected place missing
//	script: any other exit                                     failed             exit N: the last line, without what varies
//	script ran over its limit                                  timed-out          script over its limit
//	job out of time with the script still running              timed-out          no end in time
//	connection lost after go, and not had again in time        lost               connection lost
//	claimed, no exit, no process: the host stopped in mid-run  lost               stopped in mid-run
//	the claim that it told us of is not there any more         lost               claim gone
//	context ended before go                                    cancelled          cancelled
//	context ended after go                                     lost               cancelled in mid-run (joinable by the same id)
//	rung or environment that cannot be run here                failed             environment not supported
//
// docs/ssh-servers.md has what real servers do to get there, and what to do about it.
//
// An unreachable result means that this call has started nothing. Whether an earlier call with the same id had, it cannot
// tell; the caller knows whether it asks again.
//
// # Host keys
//
// Keys are strict. A rung's own lines decide alone where it has any; otherwise the known_hosts files do, looked up by
// address and by the host's name in the fleet file. A host certificate must be signed by a CA that is trusted for the
// address or the name, and one of its principals must be the address or the name: hosts are dialled by IP address, since DNS
// may be down, while certificates usually carry names. Keys marked @revoked in any known_hosts file are refused, also as
// the CA of a certificate. Jump hosts are looked up in the known_hosts files only.
package remedy
