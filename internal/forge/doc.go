// Package forge talks to GitHub: it reads pull requests and the files at their heads, keeps one comment per pull
// request up to date, and sets checks (commit statuses where there is only a token) and deployments. It authenticates as a GitHub App or with a plain token, and works with
// github.com, GitHub Enterprise Server and the fake in forgetest.
//
// Repositories are addressed by their numeric id wherever GitHub allows it, because names change and ids do not.
package forge
