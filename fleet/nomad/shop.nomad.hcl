# An app under Segue as a Nomad job: changed settings and renewed secrets come into force by a reload inside the task, and the
# allocation stays. Not played: no Nomad was there, and its schema is only in its own program.
job "shop" {
  datacenters = ["dc1"]

  group "shop" {
    count = 2

    network {
      port "http" { to = 1234 }
    }

    service {
      name     = "shop"
      port     = "http"
      provider = "nomad"

      check {
        type     = "http"
        path     = "/healthz"
        interval = "5s"
        timeout  = "2s"
      }
    }

    task "shop" {
      driver = "docker"

      config {
        image = "segue:0.1.0"
        ports = ["http"]
        args  = ["--stop-timeout", "20s", "--env-file", "/local/app.env"]
      }

      template {
        data        = "APP_MESSAGE=hello\n"
        destination = "local/app.env"
        # Segue reloads on SIGHUP. The outcome is in the log: a bad change leaves the old generation serving.
        change_mode   = "signal"
        change_signal = "SIGHUP"
      }

      # Above --stop-timeout.
      kill_signal  = "SIGTERM"
      kill_timeout = "30s"

      resources {
        cpu    = 100
        memory = 128
      }
    }
  }
}
