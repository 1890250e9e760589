// Go's net/http with nothing configured.
package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
)

func get(url string, token string) {
	request, _ := http.NewRequest("GET", url, nil)
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		fmt.Println(url+":", err)
		os.Exit(1)
	}
	defer response.Body.Close()
	var body struct{ Path string }
	json.NewDecoder(response.Body).Decode(&body)
	fmt.Println(url+":", response.StatusCode, body.Path)
}

func main() {
	get("https://api.vendor.example/v1/x", os.Getenv("VENDOR_KEY"))
	get("https://plain.site.example/a", "")
}
