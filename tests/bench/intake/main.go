// Command intake is what row E compares with: a webhook edge as one would write it in Go with nothing but its standard library.
//
//	intake SECRET
//
// It takes GitHub's push on POST /webhooks/github: bounds it, verifies the signature, parses the body into typed structs,
// builds the CloudEvent, and answers 202 with its id. It stores nothing. Prints its address when it is ready.
package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"mime"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

const limit = 25 << 20

type person struct {
	Name     string `json:"name"`
	Email    string `json:"email"`
	Username string `json:"username"`
}

type commit struct {
	ID        string   `json:"id"`
	TreeID    string   `json:"tree_id"`
	Author    person   `json:"author"`
	Committer person   `json:"committer"`
	Added     []string `json:"added"`
	Removed   []string `json:"removed"`
	Modified  []string `json:"modified"`
}

type push struct {
	Ref        string   `json:"ref"`
	Before     string   `json:"before"`
	After      string   `json:"after"`
	Forced     bool     `json:"forced"`
	Deleted    bool     `json:"deleted"`
	Commits    []commit `json:"commits"`
	HeadCommit *commit  `json:"head_commit"`
	Pusher     person   `json:"pusher"`
	Sender     struct {
		Login string `json:"login"`
	} `json:"sender"`
	Repository struct {
		FullName string `json:"full_name"`
		HTMLURL  string `json:"html_url"`
		PushedAt int64  `json:"pushed_at"`
	} `json:"repository"`
}

type data struct {
	Repo    string `json:"repo"`
	SHA     string `json:"sha"`
	Ref     string `json:"ref"`
	Before  string `json:"before"`
	After   string `json:"after"`
	Forced  bool   `json:"forced"`
	Deleted bool   `json:"deleted"`
}

type event struct {
	id, source, kind, subject, time string
	extensions                      map[string]string
	data                            []byte
}

func digest(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\n")))
	return hex.EncodeToString(sum[:16])
}

func signed(secret []byte, header string, body []byte) bool {
	given, err := hex.DecodeString(strings.TrimPrefix(header, "sha256="))
	if err != nil || !strings.HasPrefix(header, "sha256=") {
		return false
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write(body)
	return hmac.Equal(given, mac.Sum(nil))
}

func made(body []byte) (*event, error) {
	var told push
	if err := json.Unmarshal(body, &told); err != nil {
		return nil, err
	}
	repo := strings.ToLower(told.Repository.FullName)
	if repo == "" || len(told.After) != 40 {
		return nil, fmt.Errorf("it speaks of no commit")
	}
	content, err := json.Marshal(data{repo, told.After, told.Ref, told.Before, told.After, told.Forced, told.Deleted})
	if err != nil {
		return nil, err
	}
	id := digest("com.github.push", repo, told.Ref, told.Before, told.After, fmt.Sprint(told.Repository.PushedAt))
	trace := digest("greenlight/v1", repo, told.After)
	return &event{
		id: id, source: "https://github.com/" + repo, kind: "com.github.push", subject: told.Ref,
		time: time.Unix(told.Repository.PushedAt, 0).UTC().Format(time.RFC3339),
		extensions: map[string]string{
			"repo": repo, "commit": told.After, "branch": strings.TrimPrefix(told.Ref, "refs/heads/"), "partitionkey": repo,
			"fact": "true",
			"traceparent": "00-" + trace + "-" + digest(id, "receive")[:16] + "-01",
		},
		data: content,
	}, nil
}

func main() {
	secret := []byte(os.Args[1])
	http.HandleFunc("POST /webhooks/github", func(answer http.ResponseWriter, request *http.Request) {
		if kind, _, err := mime.ParseMediaType(request.Header.Get("Content-Type")); err != nil || kind != "application/json" {
			http.Error(answer, "send application/json", http.StatusUnsupportedMediaType)
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(answer, request.Body, limit))
		if err != nil {
			http.Error(answer, err.Error(), http.StatusBadRequest)
			return
		}
		if !signed(secret, request.Header.Get("X-Hub-Signature-256"), body) {
			http.Error(answer, "not authenticated", http.StatusUnauthorized)
			return
		}
		if request.Header.Get("X-GitHub-Event") != "push" {
			http.Error(answer, "only pushes", http.StatusBadRequest)
			return
		}
		told, err := made(body)
		if err != nil {
			http.Error(answer, err.Error(), http.StatusBadRequest)
			return
		}
		answer.Header().Set("Content-Type", "application/json")
		answer.WriteHeader(http.StatusAccepted)
		json.NewEncoder(answer).Encode(map[string]string{"id": told.id})
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("http://%s\n", listener.Addr())
	server := http.Server{ReadTimeout: 10 * time.Second, IdleTimeout: 30 * time.Second}
	log.Fatal(server.Serve(listener))
}
