package forgetest

import (
	"crypto/rand"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// signIns is what the server knows of people who sign in by the device flow of an App. It is guarded by the server's lock.
type signIns struct {
	clientID string
	devices  map[string]*device // by device code
	users    map[string]string  // logins by user token
	people   map[int64]string   // logins by id, as they are today
}

// device is a sign-in that was begun.
type device struct {
	userCode string
	login    string // who entered the code; "" until somebody has
	denied   bool
	expires  time.Time
}

// pollInterval is what devices are told to wait between two polls, in seconds.
const pollInterval = 1

// AllowSignIn turns the device flow on, for the App's client id, as a checkbox of its settings does.
func (s *Server) AllowSignIn(clientID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.signIns = signIns{clientID: clientID, devices: map[string]*device{}, users: map[string]string{}, people: map[int64]string{}}
}

// EnterCode is what a person does in a browser who is signed in there as login: it enters the code and agrees. It tells whether there is
// such a code.
func (s *Server) EnterCode(userCode, login string) bool { return s.decide(userCode, login, false) }

// RefuseCode is EnterCode by somebody who does not agree.
func (s *Server) RefuseCode(userCode string) bool { return s.decide(userCode, "", true) }

func (s *Server) decide(userCode, login string, denied bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.signIns.devices {
		if d.userCode == userCode {
			d.login, d.denied = login, denied
			return true
		}
	}
	return false
}

// Rename gives somebody another login, as people do. What they were called is free for others then.
func (s *Server) Rename(from, to string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.signIns.people[userID(from)] = to
}

func userID(login string) int64 {
	id, _ := account(login, "User")["id"].(int64)
	return id
}

// serveSignIn serves what is beside the API, and what a user's own token may ask. It tells whether the request was one of those.
func (s *Server) serveSignIn(w http.ResponseWriter, r *http.Request) bool {
	bearer := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	path := strings.TrimPrefix(r.URL.Path, "/api/v3")
	id, isUser := strings.CutPrefix(path, "/user/")
	switch {
	case r.Method == http.MethodPost && path == "/login/device/code":
		s.startDevice(w, r)
	case r.Method == http.MethodPost && path == "/login/oauth/access_token":
		s.pollDevice(w, r)
	case r.Method == http.MethodGet && path == "/user" && strings.HasPrefix(bearer, "ghu_"):
		s.getSignedIn(w, bearer)
	case r.Method == http.MethodGet && isUser:
		s.getUserByID(w, id)
	default:
		return false
	}
	return true
}

func (s *Server) startDevice(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.signIns.clientID == "" || r.PostFormValue("client_id") != s.signIns.clientID {
		fail(w, http.StatusNotFound, "Not Found")
		return
	}
	code, user := rand.Text(), rand.Text()[:4]+"-"+rand.Text()[:4]
	s.signIns.devices[code] = &device{userCode: user, expires: s.now().Add(15 * time.Minute)}
	answer(w, http.StatusOK, object{
		"device_code": code, "user_code": user, "verification_uri": s.url + "/login/device", "expires_in": 900, "interval": pollInterval,
	})
}

// pollDevice answers as GitHub does: errors have status 200.
func (s *Server) pollDevice(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	refuse := func(code string) {
		answer(w, http.StatusOK, object{"error": code, "error_description": code, "interval": pollInterval})
	}
	d := s.signIns.devices[r.PostFormValue("device_code")]
	switch {
	case r.PostFormValue("client_id") != s.signIns.clientID || s.signIns.clientID == "":
		refuse("incorrect_client_credentials")
	case r.PostFormValue("grant_type") != "urn:ietf:params:oauth:grant-type:device_code":
		refuse("unsupported_grant_type")
	case d == nil:
		refuse("incorrect_device_code")
	case s.now().After(d.expires):
		refuse("expired_token")
	case d.denied:
		refuse("access_denied")
	case d.login == "":
		refuse("authorization_pending")
	default:
		delete(s.signIns.devices, r.PostFormValue("device_code"))
		token := "ghu_" + rand.Text()
		s.signIns.users[token] = d.login
		answer(w, http.StatusOK, object{"access_token": token, "token_type": "bearer", "scope": ""})
	}
}

func (s *Server) getSignedIn(w http.ResponseWriter, token string) {
	s.mu.Lock()
	login, ok := s.signIns.users[token]
	s.mu.Unlock()
	if !ok {
		fail(w, http.StatusUnauthorized, "Bad credentials")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.signIns.people[userID(login)] == "" {
		s.signIns.people[userID(login)] = login
	}
	answer(w, http.StatusOK, account(login, "User"))
}

func (s *Server) getUserByID(w http.ResponseWriter, text string) {
	id, err := strconv.ParseInt(text, 10, 64)
	s.mu.Lock()
	defer s.mu.Unlock()
	login := s.signIns.people[id]
	if err != nil || login == "" {
		fail(w, http.StatusNotFound, "Not Found")
		return
	}
	user := account(login, "User")
	user["id"] = id
	answer(w, http.StatusOK, user)
}

// SetPrivate makes a repository one that only those can read who have a role in it, or one that everybody can.
func (r *Repo) SetPrivate(private bool) {
	r.server.mu.Lock()
	defer r.server.mu.Unlock()
	r.private = private
}
