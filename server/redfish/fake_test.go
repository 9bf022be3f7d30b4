package redfish

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"hash/fnv"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

const (
	fakeUser     = "blackstart"
	fakePassword = `s3cret&"pass/word`
)

// quirks are the ways in which BMCs differ from the schema, from each other, and from what one would like.
type quirks struct {
	basicOnly   bool   // no session service
	noSession   bool   // no session free
	rootLogin   bool   // even the service root wants a login
	farLocation bool   // Location names the BMC by a host name, and there is no body
	noLocation  bool   // there is no Location, only a body
	systems     int    // how many; 0 means one
	paged       bool   // collections come one member at a time
	status      int    // every answer after the login has this status
	garbage     bool   // every answer after the login is no JSON
	huge        bool   // every answer after the login has 10 MB
	hang        bool   // no answer after the login
	drop        bool   // the connection is cut after the login
	redirect    string // questions after the login are sent there
	slashes     bool   // questions without a slash at the end are redirected
	busy        int    // so many answers of 503 first
	tasks       int    // changes become tasks that need so many looks; 0 means done at once
	taskError   bool   // the task monitor ends with the operation's refusal
	taskKilled  bool   // it ends with a Task in state Exception
	taskGone    bool   // it is gone once the task is done
	taskPending bool   // the task is done and says Pending for ever
	taskIsOK    bool   // the task monitor answers 200 with a running Task, not 202
	wantsMatch  bool   // a change without If-Match is refused
	badETags    bool   // weak ETags are compared as if they were strong, and * means nothing
	noETags     bool   // none is given
	wantsMode   bool   // a boot override without its mode resets the mode
	refusesMode bool   // the mode cannot be written
	refusesNone bool   // the target None cannot be written
	wantsNone   bool   // disabling alone does nothing
	settings    bool   // the boot override is written into a settings resource
	forgets     bool   // the boot override is accepted and forgotten
	lasting     bool   // the boot override stays after its one start
	targets     []string
	times       []string
	noBoot      bool // no Boot at all
	supermicro  bool
	actionInfo  bool // what a reset may be stands in ActionInfo
	noForceOff  bool
	deaf        bool // a reset is accepted and nothing happens
	conflict    bool // a reset works and is refused
	slow        int  // so many looks show the power changing
	wavers      bool // after a change the first look shows the new state, the second the old
	noReset     bool
	mediaUnder  string // "Systems"; empty means Managers; "none"
	mediaPatch  bool   // the drive has no actions
	protocol    bool   // InsertMedia wants TransferProtocolType
	everything  bool   // and Inserted too
	noBody      bool   // EjectMedia takes no body
	ghost       bool   // an ejected image goes on being named
	mediaDeaf   bool   // InsertMedia is accepted and nothing happens
	mediaStuck  bool   // EjectMedia is accepted and nothing happens
	mediaSecret bool   // the media's resources are not for this account
	nameOnly    bool   // the drive shows the image's name only
	echo        bool   // refusals repeat the password
}

// fakeBMC is a BMC as the DMTF's schemas describe it, with one or more machines behind it.
type fakeBMC struct {
	*httptest.Server
	t    *testing.T
	done chan struct{} // closed when the test ends

	mu       sync.Mutex
	quirks   quirks
	machines []*fakeMachine
	sessions map[string]string // token to id
	tasks    map[string]*fakeTask
	log      []string // "PATCH /redfish/v1/Systems/1 {…}": requests that ask for a change
	ended    int      // sessions given back
	number   int
}

// fakeMachine is a machine and its virtual CD.
type fakeMachine struct {
	id                                string
	power                             string
	looks                             int // that still show the power changing
	wrong                             int // looks until one shows the old state
	enabled, target, mode, uri        string
	image, imageName, connected       string
	boots                             []string // what it was started from
	inserted                          bool
	nextEnabled, nextTarget, nextMode string // the settings resource
}

type fakeTask struct {
	looks int
	do    func() (int, any)
	ran   bool
}

func startBMC(t *testing.T, q quirks) *fakeBMC {
	t.Helper()
	b := &fakeBMC{t: t, done: make(chan struct{}), quirks: q, sessions: map[string]string{}, tasks: map[string]*fakeTask{}}
	for n := range max(1, q.systems) {
		b.machines = append(b.machines, &fakeMachine{id: fmt.Sprint(n + 1), power: "Off", enabled: "Disabled", target: "None", mode: "UEFI",
			nextEnabled: "Disabled", nextTarget: "None", nextMode: "UEFI", connected: "NotConnected"})
	}
	b.Server = httptest.NewUnstartedServer(b)
	b.Config.ErrorLog = log.New(io.Discard, "", 0)
	b.StartTLS()
	t.Cleanup(func() { close(b.done); b.CloseClientConnections(); b.Close() })
	return b
}

func (b *fakeBMC) fingerprint() string {
	sum := sha256.Sum256(b.Certificate().Raw)
	return hex.EncodeToString(sum[:])
}

// pem writes the BMC's certificate into a file.
func (b *fakeBMC) pem() string {
	path := filepath.Join(b.t.TempDir(), "bmc.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: b.Certificate().Raw}), 0o600); err != nil {
		b.t.Fatal(err)
	}
	return path
}

// control is what a fleet file would say of the BMC, options changed or added.
func (b *fakeBMC) control(more ...string) recovery.Control {
	file := filepath.Join(b.t.TempDir(), "password")
	if err := os.WriteFile(file, []byte(fakePassword+"\n"), 0o600); err != nil {
		b.t.Fatal(err)
	}
	options := map[string]string{"url": b.URL, "username": fakeUser, "fingerprint": b.fingerprint()}
	for i := 0; i < len(more); i += 2 {
		options[more[i]] = more[i+1]
		if more[i+1] == "" {
			delete(options, more[i])
		}
	}
	return recovery.Control{Name: "bmc", Kind: recovery.ControlRedfish, Options: options, Secrets: map[string]string{"password": "file:" + file}, Timeout: 5 * time.Second}
}

// client opens a client that is in a hurry.
func (b *fakeBMC) client(more ...string) *Client {
	b.t.Helper()
	c, err := Open(b.control(more...))
	if err != nil {
		b.t.Fatal(err)
	}
	c.pace = pace{request: 2 * time.Second, poll: 2 * time.Millisecond, settle: 50 * time.Millisecond}
	return c
}

func (b *fakeBMC) machine() *fakeMachine { return b.machines[0] }

// changes are the requests that asked for a change.
func (b *fakeBMC) changes() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.log)
}

// start is what a machine does when it is switched on: it boots, and a one-time override is used up.
func (m *fakeMachine) start(lasting bool) {
	if m.nextEnabled != "Disabled" { // settings become what they are for
		m.enabled, m.target, m.mode = m.nextEnabled, m.nextTarget, m.nextMode
		m.nextEnabled, m.nextTarget = "Disabled", "None"
	}
	from := "Hdd"
	if m.enabled != "Disabled" && m.target != "None" {
		from = m.target
	}
	if from == "Cd" || from == "UsbCd" {
		if m.inserted {
			from += " " + m.image
		} else {
			from = "Hdd"
		}
	}
	if m.enabled == "Once" && !lasting {
		m.enabled, m.target, m.uri = "Disabled", "None", ""
	}
	m.boots = append(m.boots, from)
}

func (b *fakeBMC) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if b.hangs(w, r) {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	w.Header().Set("OData-Version", "4.0")
	status, answer := b.answer(w, r, body)
	if status == 0 {
		return // written already
	}
	if w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
	}
	if resource, ok := answer.(map[string]any); ok && status == http.StatusOK && r.Method == http.MethodGet && resource["@odata.id"] != nil && !b.quirks.noETags {
		w.Header().Set("ETag", b.etag(resource))
	}
	if answer == nil {
		w.WriteHeader(status)
		return
	}
	text, err := json.Marshal(answer)
	if err != nil {
		b.t.Error(err)
	}
	w.WriteHeader(status)
	_, _ = w.Write(text)
}

// etag changes when the resource does.
func (b *fakeBMC) etag(resource map[string]any) string {
	text, _ := json.Marshal(resource)
	sum := fnv.New64a()
	_, _ = sum.Write(text)
	return fmt.Sprintf(`W/"%x"`, sum.Sum64())
}

// hangs plays what needs no resources, unlocked.
func (b *fakeBMC) hangs(w http.ResponseWriter, r *http.Request) bool {
	b.mu.Lock()
	q := b.quirks
	b.mu.Unlock()
	if strings.TrimRight(r.URL.Path, "/") == "/redfish/v1" || strings.HasPrefix(r.URL.Path, "/redfish/v1/SessionService") {
		return false
	}
	switch {
	case q.hang:
		select {
		case <-r.Context().Done():
		case <-b.done:
		}
	case q.drop:
		panic(http.ErrAbortHandler)
	case q.huge:
		for range 10 {
			if _, err := w.Write([]byte(strings.Repeat(" ", 1<<20))); err != nil {
				return true
			}
		}
	case q.garbage:
		_, _ = io.WriteString(w, "<html>\x1b[31mnot JSON")
	case q.redirect != "" && r.Method == http.MethodGet:
		http.Redirect(w, r, q.redirect, http.StatusFound)
	case q.slashes && r.Method == http.MethodGet && !strings.HasSuffix(r.URL.Path, "/"):
		http.Redirect(w, r, r.URL.Path+"/", http.StatusPermanentRedirect)
	default:
		return false
	}
	return true
}

func (b *fakeBMC) refuse(status int, id, text string, args ...any) (int, any) {
	text = fmt.Sprintf(text, args...)
	if b.quirks.echo {
		text += " (" + fakePassword + ")"
	}
	return status, map[string]any{"error": map[string]any{
		"code": "Base.1.8.GeneralError", "message": "A general error has occurred. See ExtendedInfo.",
		"@Message.ExtendedInfo": []any{map[string]any{
			"@odata.type": "#Message.v1_1_1.Message", "MessageId": "Base.1.8." + id, "Message": text, "Severity": "Critical", "Resolution": "None",
		}},
	}}
}

// authorized reports whether the request comes with a session or, by basic authentication, with the right name.
func (b *fakeBMC) authorized(r *http.Request) bool {
	if token := r.Header.Get("X-Auth-Token"); token != "" {
		return b.sessions[token] != ""
	}
	user, password, ok := r.BasicAuth()
	return ok && user == fakeUser && password == fakePassword
}

func (b *fakeBMC) answer(w http.ResponseWriter, r *http.Request, body []byte) (int, any) {
	path := strings.TrimRight(r.URL.Path, "/")
	if path == "/redfish" {
		return http.StatusOK, map[string]string{"v1": "/redfish/v1/"}
	}
	if path == "/redfish/v1" && (!b.quirks.rootLogin || b.authorized(r)) {
		return http.StatusOK, b.rootResource()
	}
	if path == "/redfish/v1/SessionService/Sessions" && r.Method == http.MethodPost && !b.quirks.basicOnly {
		return b.logIn(w, body)
	}
	if !b.authorized(r) {
		return b.refuse(http.StatusUnauthorized, "NoValidSession", "There is no valid session established with the implementation.")
	}
	if id, ok := strings.CutPrefix(path, "/redfish/v1/SessionService/Sessions/"); ok && r.Method == http.MethodDelete {
		return b.logOut(id)
	}
	if b.quirks.status != 0 {
		return b.refuse(b.quirks.status, "InsufficientPrivilege", "There are insufficient privileges for the account or credentials.")
	}
	if b.quirks.busy > 0 {
		b.quirks.busy--
		w.Header().Set("Retry-After", "0")
		return b.refuse(http.StatusServiceUnavailable, "ServiceTemporarilyUnavailable", "The service is temporarily unavailable.")
	}
	for _, place := range []string{"/redfish/v1/TaskService/TaskMonitors/", "/redfish/v1/TaskService/Tasks/"} {
		if id, ok := strings.CutPrefix(path, place); ok {
			return b.lookAtTask(w, id)
		}
	}
	if r.Method == http.MethodGet {
		if resource := b.resource(path, r.URL.Query().Get("$skip")); resource != nil {
			w.Header().Set("Allow", b.allowed(path))
			return http.StatusOK, resource
		}
		return b.refuse(http.StatusNotFound, "ResourceMissingAtURI", "The resource at the URI %s was not found.", path)
	}
	b.log = append(b.log, r.Method+" "+path+" "+string(body))
	return b.change(w, r, path, body)
}

// allowed are the methods that a resource bears.
func (b *fakeBMC) allowed(path string) string {
	isDrive := strings.HasSuffix(path, "/VirtualMedia/CD1") && b.quirks.mediaPatch
	isSystem := strings.HasPrefix(path, "/redfish/v1/Systems/") && strings.Count(path, "/") == 4
	if isDrive || isSystem || strings.HasSuffix(path, "/Settings") {
		return "GET, HEAD, PATCH"
	}
	return "GET, HEAD"
}

func (b *fakeBMC) logIn(w http.ResponseWriter, body []byte) (int, any) {
	if b.quirks.noSession {
		return b.refuse(http.StatusBadRequest, "SessionLimitExceeded", "The session establishment failed due to the number of simultaneous sessions exceeding the limit of the implementation.")
	}
	var in struct{ UserName, Password string }
	if json.Unmarshal(body, &in) != nil || in.UserName != fakeUser || in.Password != fakePassword {
		return b.refuse(http.StatusUnauthorized, "ResourceAtUriUnauthorized", "While accessing the resource, the service received an authorization error.")
	}
	b.number++
	id, token := fmt.Sprint(b.number), fmt.Sprintf("token-%d", b.number)
	b.sessions[token] = id
	w.Header().Set("X-Auth-Token", token)
	b.locate(w, "/redfish/v1/SessionService/Sessions/"+id)
	if b.quirks.farLocation {
		return http.StatusCreated, nil
	}
	return http.StatusCreated, map[string]any{"@odata.type": "#Session.v1_3_0.Session", "@odata.id": "/redfish/v1/SessionService/Sessions/" + id, "Id": id, "Name": "User Session", "UserName": fakeUser}
}

// locate says where the thing is that was made.
func (b *fakeBMC) locate(w http.ResponseWriter, path string) {
	switch {
	case b.quirks.farLocation:
		w.Header().Set("Location", "https://bmc.example.net"+path)
	case !b.quirks.noLocation:
		w.Header().Set("Location", path)
	}
}

func (b *fakeBMC) logOut(id string) (int, any) {
	for token, session := range b.sessions {
		if session == id {
			delete(b.sessions, token)
			b.ended++
			return http.StatusNoContent, nil
		}
	}
	return b.refuse(http.StatusNotFound, "ResourceMissingAtURI", "There is no such session.")
}

// later makes a task of a change where the quirks say so.
func (b *fakeBMC) later(w http.ResponseWriter, do func() (int, any)) (int, any) {
	if b.quirks.tasks == 0 {
		return do()
	}
	b.number++
	id := fmt.Sprint(b.number)
	b.tasks[id] = &fakeTask{looks: b.quirks.tasks, do: do}
	b.locate(w, "/redfish/v1/TaskService/TaskMonitors/"+id)
	if b.quirks.farLocation {
		return http.StatusAccepted, nil
	}
	return http.StatusAccepted, fakeTaskResource(id, "Running")
}

func fakeTaskResource(id, state string) map[string]any {
	task := map[string]any{"@odata.type": "#Task.v1_7_0.Task", "@odata.id": "/redfish/v1/TaskService/Tasks/" + id, "Id": id, "Name": "Task " + id, "TaskState": state, "TaskStatus": "OK",
		"TaskMonitor": "/redfish/v1/TaskService/TaskMonitors/" + id}
	if state == "Exception" {
		task["TaskStatus"] = "Critical"
		task["Messages"] = []any{map[string]any{"MessageId": "Base.1.8.InternalError", "Message": "The task was interrupted by the power supply.", "Severity": "Critical"}}
	}
	return task
}

func (b *fakeBMC) lookAtTask(w http.ResponseWriter, id string) (int, any) {
	task := b.tasks[id]
	if task == nil {
		return b.refuse(http.StatusNotFound, "ResourceMissingAtURI", "There is no such task.")
	}
	if task.looks--; task.looks > 0 {
		b.locate(w, "/redfish/v1/TaskService/TaskMonitors/"+id)
		if b.quirks.taskIsOK {
			return http.StatusOK, fakeTaskResource(id, "Running")
		}
		return http.StatusAccepted, fakeTaskResource(id, "Running")
	}
	switch {
	case b.quirks.taskError:
		delete(b.tasks, id)
		return b.refuse(http.StatusInternalServerError, "InternalError", "The request failed due to an internal service error.")
	case b.quirks.taskKilled:
		return http.StatusOK, fakeTaskResource(id, "Exception")
	}
	status, answer := http.StatusOK, any(nil)
	if !task.ran {
		task.ran = true
		status, answer = task.do()
	}
	switch {
	case b.quirks.taskGone:
		delete(b.tasks, id)
		return b.refuse(http.StatusNotFound, "ResourceMissingAtURI", "There is no such task.")
	case b.quirks.taskPending:
		return http.StatusOK, fakeTaskResource(id, "Pending")
	case b.quirks.taskIsOK:
		return http.StatusOK, fakeTaskResource(id, "Completed")
	}
	return status, answer
}

// collection is a collection of members, one a page where the quirks say so.
func (b *fakeBMC) collection(kind, path, skip string, members ...string) map[string]any {
	links := make([]any, 0, len(members))
	for _, m := range members {
		links = append(links, map[string]any{"@odata.id": path + "/" + m})
	}
	c := map[string]any{"@odata.type": "#" + kind + "Collection." + kind + "Collection", "@odata.id": path, "Name": kind + " Collection", "Members@odata.count": len(members), "Members": links}
	if b.quirks.paged && len(members) > 1 {
		at := 0
		_, _ = fmt.Sscan(skip, &at)
		c["Members"] = links[at : at+1]
		if at+1 < len(links) {
			c["Members@odata.nextLink"] = fmt.Sprintf("%s?$skip=%d", path, at+1)
		}
	}
	return c
}

func (b *fakeBMC) rootResource() map[string]any {
	root := map[string]any{
		"@odata.type": "#ServiceRoot.v1_15_0.ServiceRoot", "@odata.id": "/redfish/v1/", "Id": "RootService", "Name": "Root Service", "RedfishVersion": "1.15.0",
		"UUID":     "92384634-2938-2342-8820-489239905423",
		"Systems":  map[string]any{"@odata.id": "/redfish/v1/Systems"},
		"Managers": map[string]any{"@odata.id": "/redfish/v1/Managers"},
		"Tasks":    map[string]any{"@odata.id": "/redfish/v1/TaskService"},
		"Links":    map[string]any{},
	}
	if !b.quirks.basicOnly {
		root["SessionService"] = map[string]any{"@odata.id": "/redfish/v1/SessionService"}
		root["Links"] = map[string]any{"Sessions": map[string]any{"@odata.id": "/redfish/v1/SessionService/Sessions"}}
	}
	return root
}

func (b *fakeBMC) resource(path, skip string) any {
	parts := strings.Split(strings.TrimPrefix(path, "/redfish/v1/"), "/")
	var ids []string
	for _, m := range b.machines {
		ids = append(ids, m.id)
	}
	switch path {
	case "/redfish/v1/Systems":
		return b.collection("ComputerSystem", path, skip, ids...)
	case "/redfish/v1/Managers":
		return b.collection("Manager", path, skip, ids...)
	case "/redfish/v1/SessionService":
		return map[string]any{"@odata.type": "#SessionService.v1_1_8.SessionService", "@odata.id": path, "Id": "SessionService", "Name": "Session Service",
			"ServiceEnabled": true, "SessionTimeout": 600, "Sessions": map[string]any{"@odata.id": path + "/Sessions"}}
	case "/redfish/v1/SessionService/Sessions":
		return b.collection("Session", path, skip, slices.Sorted(maps.Values(b.sessions))...)
	case "/redfish/v1/TaskService":
		return map[string]any{"@odata.type": "#TaskService.v1_2_0.TaskService", "@odata.id": path, "Id": "TaskService", "Name": "Task Service", "Tasks": map[string]any{"@odata.id": path + "/Tasks"}}
	}
	if len(parts) < 2 {
		return nil
	}
	m := b.find(parts[1])
	if m == nil {
		return nil
	}
	below := strings.Join(parts[2:], "/")
	switch {
	case parts[0] == "Systems" && below == "":
		return b.systemResource(m)
	case parts[0] == "Systems" && below == "Settings" && b.quirks.settings:
		return map[string]any{"@odata.type": "#ComputerSystem.v1_20_0.ComputerSystem", "@odata.id": path, "Id": "Settings", "Name": "Settings for the next start",
			"Boot": map[string]any{"BootSourceOverrideEnabled": m.nextEnabled, "BootSourceOverrideTarget": m.nextTarget, "BootSourceOverrideMode": m.nextMode}}
	case parts[0] == "Systems" && below == "ResetActionInfo" && b.quirks.actionInfo:
		return map[string]any{"@odata.type": "#ActionInfo.v1_3_0.ActionInfo", "@odata.id": path, "Id": "ResetActionInfo", "Name": "Reset Action Info",
			"Parameters": []any{map[string]any{"Name": "ResetType", "Required": true, "DataType": "String", "AllowableValues": b.resets()}}}
	case parts[0] == "Managers" && below == "":
		manager := map[string]any{"@odata.type": "#Manager.v1_18_0.Manager", "@odata.id": path, "Id": m.id, "Name": "Manager", "ManagerType": "BMC",
			"Links": map[string]any{"ManagerForServers": []any{map[string]any{"@odata.id": "/redfish/v1/Systems/" + m.id}}}}
		if b.quirks.mediaUnder == "" {
			manager["VirtualMedia"] = map[string]any{"@odata.id": path + "/VirtualMedia"}
		}
		return manager
	case parts[0] == b.mediaHome() && below == "VirtualMedia":
		return b.collection("VirtualMedia", path, skip, "Floppy1", "CD1")
	case parts[0] == b.mediaHome() && below == "VirtualMedia/Floppy1":
		return map[string]any{"@odata.type": "#VirtualMedia.v1_6_0.VirtualMedia", "@odata.id": path, "Id": "Floppy1", "Name": "Virtual Floppy", "MediaTypes": []any{"Floppy", "USBStick"},
			"Image": nil, "Inserted": false, "ConnectedVia": "NotConnected", "WriteProtected": true}
	case parts[0] == b.mediaHome() && below == "VirtualMedia/CD1":
		return b.driveResource(m, path)
	}
	return nil
}

func (b *fakeBMC) mediaHome() string {
	if b.quirks.mediaUnder == "" {
		return "Managers"
	}
	return b.quirks.mediaUnder
}

func (b *fakeBMC) find(id string) *fakeMachine {
	for _, m := range b.machines {
		if m.id == id {
			return m
		}
	}
	return nil
}

func (b *fakeBMC) resets() []string {
	all := []string{"On", "ForceOff", "GracefulShutdown", "ForceRestart", "Nmi", "PushPowerButton"}
	if b.quirks.noForceOff {
		all = slices.DeleteFunc(all, func(s string) bool { return s == "ForceOff" })
	}
	return all
}

func (b *fakeBMC) bootTargets() []string {
	if b.quirks.targets != nil {
		return b.quirks.targets
	}
	return []string{"None", "Pxe", "Cd", "UsbCd", "Hdd", "BiosSetup", "UefiHttp"}
}

func (b *fakeBMC) bootTimes() []string {
	if b.quirks.times != nil {
		return b.quirks.times
	}
	return []string{"Disabled", "Once", "Continuous"}
}

func (b *fakeBMC) systemResource(m *fakeMachine) map[string]any {
	path := "/redfish/v1/Systems/" + m.id
	state := m.power
	if m.looks > 0 {
		m.looks--
		state = map[string]string{"On": "PoweringOn", "Off": "PoweringOff"}[m.power]
	}
	if m.wrong > 0 {
		if m.wrong--; m.wrong == 0 {
			state = map[string]string{"On": "Off", "Off": "On"}[m.power]
		}
	}
	s := map[string]any{
		"@odata.type": "#ComputerSystem.v1_20_0.ComputerSystem", "@odata.id": path, "Id": m.id, "Name": "Machine " + m.id, "SystemType": "Physical", "Manufacturer": "Contoso",
		"UUID": "38947555-7742-3448-3784-82334782383" + m.id, "PowerState": state, "Status": map[string]any{"State": "Enabled", "Health": "OK"},
		"Links": map[string]any{"ManagedBy": []any{map[string]any{"@odata.id": "/redfish/v1/Managers/" + m.id}}, "Chassis": []any{}},
	}
	if b.quirks.supermicro {
		s["Manufacturer"] = "Supermicro"
	}
	if !b.quirks.noBoot {
		s["Boot"] = map[string]any{
			"BootSourceOverrideEnabled": m.enabled, "BootSourceOverrideEnabled@Redfish.AllowableValues": b.bootTimes(),
			"BootSourceOverrideTarget": m.target, "BootSourceOverrideTarget@Redfish.AllowableValues": b.bootTargets(),
			"BootSourceOverrideMode": m.mode, "BootSourceOverrideMode@Redfish.AllowableValues": []any{"Legacy", "UEFI"}, "HttpBootUri": m.uri,
		}
	}
	if b.quirks.settings {
		s["@Redfish.Settings"] = map[string]any{"@odata.type": "#Settings.v1_3_5.Settings", "SettingsObject": map[string]any{"@odata.id": path + "/Settings"}}
	}
	if !b.quirks.noReset {
		reset := map[string]any{"target": path + "/Actions/ComputerSystem.Reset", "ResetType@Redfish.AllowableValues": b.resets()}
		if b.quirks.actionInfo {
			reset = map[string]any{"target": path + "/Actions/ComputerSystem.Reset", "@Redfish.ActionInfo": path + "/ResetActionInfo"}
		}
		s["Actions"] = map[string]any{"#ComputerSystem.Reset": reset}
	}
	if b.quirks.mediaUnder == "Systems" {
		s["VirtualMedia"] = map[string]any{"@odata.id": path + "/VirtualMedia"}
	}
	return s
}

func (b *fakeBMC) driveResource(m *fakeMachine, path string) any {
	if b.quirks.mediaSecret {
		return nil
	}
	d := map[string]any{"@odata.type": "#VirtualMedia.v1_6_0.VirtualMedia", "@odata.id": path, "Id": "CD1", "Name": "Virtual CD", "MediaTypes": []any{"CD", "DVD"},
		"Image": nil, "ImageName": nil, "Inserted": m.inserted, "ConnectedVia": m.connected, "WriteProtected": true}
	if m.image != "" {
		d["Image"], d["ImageName"] = m.image, m.imageName
	}
	if b.quirks.nameOnly {
		d["Image"] = nil
	}
	if !b.quirks.mediaPatch {
		d["Actions"] = map[string]any{
			"#VirtualMedia.InsertMedia": map[string]any{"target": path + "/Actions/VirtualMedia.InsertMedia"},
			"#VirtualMedia.EjectMedia":  map[string]any{"target": path + "/Actions/VirtualMedia.EjectMedia"},
		}
	}
	return d
}

// change plays a POST or PATCH.
func (b *fakeBMC) change(w http.ResponseWriter, r *http.Request, path string, body []byte) (int, any) {
	parts := strings.Split(strings.TrimPrefix(path, "/redfish/v1/"), "/")
	var m *fakeMachine
	if len(parts) >= 2 {
		m = b.find(parts[1])
	}
	if m == nil {
		return b.refuse(http.StatusNotFound, "ResourceMissingAtURI", "The resource at the URI %s was not found.", path)
	}
	below := strings.Join(parts[2:], "/")
	if r.Method == http.MethodPatch {
		if status, refusal := b.checkETag(r, path); status != 0 {
			return status, refusal
		}
	}
	switch {
	case r.Method == http.MethodPost && below == "Actions/ComputerSystem.Reset":
		return b.later(w, func() (int, any) { return b.reset(m, body) })
	case r.Method == http.MethodPatch && parts[0] == "Systems" && below == "":
		if b.quirks.settings {
			return b.refuse(http.StatusBadRequest, "PropertyNotWritable", "The property Boot is read only here; write the settings resource.")
		}
		return b.later(w, func() (int, any) { return b.patchBoot(m, body, &m.enabled, &m.target, &m.mode, &m.uri) })
	case r.Method == http.MethodPatch && below == "Settings" && b.quirks.settings:
		var nowhere string
		return b.later(w, func() (int, any) { return b.patchBoot(m, body, &m.nextEnabled, &m.nextTarget, &m.nextMode, &nowhere) })
	case r.Method == http.MethodPost && below == "VirtualMedia/CD1/Actions/VirtualMedia.InsertMedia" && !b.quirks.mediaPatch:
		return b.later(w, func() (int, any) { return b.insertMedia(m, body) })
	case r.Method == http.MethodPost && below == "VirtualMedia/CD1/Actions/VirtualMedia.EjectMedia" && !b.quirks.mediaPatch:
		return b.later(w, func() (int, any) { return b.ejectMedia(m, body) })
	case r.Method == http.MethodPatch && below == "VirtualMedia/CD1" && b.quirks.mediaPatch:
		return b.later(w, func() (int, any) { return b.patchMedia(m, body) })
	}
	return b.refuse(http.StatusMethodNotAllowed, "OperationNotAllowed", "The HTTP method is not allowed on this resource.")
}

func (b *fakeBMC) checkETag(r *http.Request, path string) (int, any) {
	given := r.Header.Get("If-Match")
	if given == "" {
		if b.quirks.wantsMatch {
			return b.refuse(http.StatusPreconditionRequired, "PreconditionRequired", "A precondition header is required.")
		}
		return 0, nil
	}
	resource, _ := b.resource(path, "").(map[string]any)
	etag := b.etag(resource)
	if b.quirks.badETags {
		etag = strings.TrimPrefix(etag, "W/")
	}
	if given != etag && (given != "*" || b.quirks.badETags) {
		return b.refuse(http.StatusPreconditionFailed, "PreconditionFailed", "The ETag supplied did not match the ETag required to change this resource.")
	}
	return 0, nil
}

func (b *fakeBMC) reset(m *fakeMachine, body []byte) (int, any) {
	var in struct{ ResetType string }
	if json.Unmarshal(body, &in) != nil || in.ResetType == "" {
		return b.refuse(http.StatusBadRequest, "ActionParameterMissing", "The action ComputerSystem.Reset requires the parameter ResetType to be present.")
	}
	if !slices.Contains(b.resets(), in.ResetType) {
		return b.refuse(http.StatusBadRequest, "ActionParameterNotSupported", "The parameter ResetType for the action ComputerSystem.Reset is not supported.")
	}
	if b.quirks.deaf {
		return http.StatusNoContent, nil
	}
	was := m.power
	switch in.ResetType {
	case "On":
		m.power = "On"
	case "ForceOff", "GracefulShutdown":
		m.power = "Off"
	case "ForceRestart":
		was, m.power = "Off", "On"
	}
	if m.power == "On" && was == "Off" {
		m.start(b.quirks.lasting)
	}
	m.looks = b.quirks.slow
	if b.quirks.wavers {
		m.wrong = 2
	}
	if b.quirks.conflict {
		return b.refuse(http.StatusConflict, "ResourceInUse", "The change could not be made because the resource is in use.")
	}
	return http.StatusNoContent, nil
}

func (b *fakeBMC) patchBoot(m *fakeMachine, body []byte, enabled, target, mode, uri *string) (int, any) {
	var in map[string]map[string]string
	if json.Unmarshal(body, &in) != nil || len(in) != 1 || in["Boot"] == nil {
		return b.refuse(http.StatusBadRequest, "MalformedJSON", "The request body is not an object with Boot.")
	}
	newEnabled, newTarget, newMode, newURI := *enabled, *target, *mode, *uri
	if b.quirks.wantsMode {
		newMode = "Legacy"
	}
	for property, value := range in["Boot"] {
		known := true
		switch property {
		case "BootSourceOverrideEnabled":
			newEnabled, known = value, slices.Contains(b.bootTimes(), value)
		case "BootSourceOverrideTarget":
			newTarget, known = value, slices.Contains(b.bootTargets(), value) && !(value == "None" && b.quirks.refusesNone)
		case "BootSourceOverrideMode":
			newMode, known = value, (value == "Legacy" || value == "UEFI") && !b.quirks.refusesMode
		case "HttpBootUri":
			newURI = value
		default:
			return b.refuse(http.StatusBadRequest, "PropertyUnknown", "The property %s is not in the list of valid properties for the resource.", property)
		}
		if !known {
			return b.refuse(http.StatusBadRequest, "PropertyValueNotInList", "The value %s for the property %s is not in the list of acceptable values.", value, property)
		}
	}
	if b.quirks.wantsNone && newEnabled == "Disabled" && newTarget != "None" {
		newEnabled = *enabled
	}
	if !b.quirks.forgets {
		*enabled, *target, *mode, *uri = newEnabled, newTarget, newMode, newURI
	}
	return http.StatusOK, b.systemResource(m)
}

func (b *fakeBMC) insertMedia(m *fakeMachine, body []byte) (int, any) {
	var in struct {
		Image, TransferProtocolType, TransferMethod *string
		Inserted, WriteProtected                    *bool
	}
	if json.Unmarshal(body, &in) != nil || in.Image == nil {
		return b.refuse(http.StatusBadRequest, "ActionParameterMissing", "The action VirtualMedia.InsertMedia requires the parameter Image to be present.")
	}
	if m.inserted {
		return b.refuse(http.StatusConflict, "ResourceInUse", "The virtual media is in use.")
	}
	if (b.quirks.protocol || b.quirks.everything) && in.TransferProtocolType == nil || b.quirks.everything && in.Inserted == nil {
		return b.refuse(http.StatusBadRequest, "ActionParameterMissing", "The action VirtualMedia.InsertMedia requires the parameter TransferProtocolType to be present.")
	}
	if !b.quirks.mediaDeaf {
		m.insert(*in.Image)
	}
	return http.StatusNoContent, nil
}

func (m *fakeMachine) insert(image string) {
	m.image, m.imageName, m.inserted, m.connected = image, image[strings.LastIndexByte(image, '/')+1:], true, "URI"
}

func (b *fakeBMC) ejectMedia(m *fakeMachine, body []byte) (int, any) {
	if b.quirks.noBody && len(body) > 0 {
		return b.refuse(http.StatusBadRequest, "ActionParameterUnknown", "The action VirtualMedia.EjectMedia takes no body.")
	}
	if !b.quirks.noBody && len(body) == 0 {
		return b.refuse(http.StatusUnsupportedMediaType, "MalformedJSON", "The action VirtualMedia.EjectMedia wants an object.")
	}
	if b.quirks.mediaStuck {
		return http.StatusNoContent, nil
	}
	m.connected = "NotConnected"
	if !b.quirks.ghost {
		m.image, m.imageName, m.inserted = "", "", false
	}
	return http.StatusNoContent, nil
}

func (b *fakeBMC) patchMedia(m *fakeMachine, body []byte) (int, any) {
	var in struct {
		Image    *string
		Inserted *bool
	}
	if json.Unmarshal(body, &in) != nil || in.Inserted == nil {
		return b.refuse(http.StatusBadRequest, "PropertyMissing", "The property Inserted is required.")
	}
	if *in.Inserted && in.Image != nil {
		m.insert(*in.Image)
	} else {
		m.image, m.imageName, m.inserted, m.connected = "", "", false, "NotConnected"
	}
	return http.StatusOK, nil
}
