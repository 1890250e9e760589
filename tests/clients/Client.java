// Java's HttpClient and HttpURLConnection with nothing configured.
import java.net.HttpURLConnection;
import java.net.URI;
import java.net.URL;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;

public class Client {
  public static void main(String[] arguments) throws Exception {
    String token = System.getenv("VENDOR_KEY");
    HttpRequest request = HttpRequest.newBuilder(URI.create("https://api.vendor.example/v1/x")).header("Authorization", "Bearer " + token).build();
    HttpResponse<String> response = HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString());
    System.out.println("HttpClient: " + response.statusCode() + " " + response.body());
    HttpURLConnection connection = (HttpURLConnection) new URL("https://api.vendor.example/v1/y").openConnection();
    connection.setRequestProperty("Authorization", "Bearer " + token);
    System.out.println("HttpURLConnection: " + connection.getResponseCode());
    connection = (HttpURLConnection) new URL("https://plain.site.example/a").openConnection();
    System.out.println("another host: " + connection.getResponseCode());
  }
}
