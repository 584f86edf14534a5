// The program's user: readWrite on its own database, nothing else.
db.getSiblingDB("drc_incident").createUser({
  user: "incident_state",
  pwd: process.env.STATE_PASSWORD,
  roles: [{ role: "readWrite", db: "drc_incident" }],
});
