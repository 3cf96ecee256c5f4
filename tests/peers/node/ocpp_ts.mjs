// npm ocpp-ts.
import { once } from "node:events";
import ts from "ocpp-ts";
import { run } from "./story.mjs";

run(({ url, identity, password }) => {
  const client = new ts.OcppClient(identity);
  client.on("error", (error) => process.stderr.write(`${error}\n`));
  return {
    name: "ocpp-ts",
    connect: () => {
      client.connect(`${url}/`, {
        Authorization: "Basic " + Buffer.from(`${identity}:${password}`).toString("base64"),
      });
      return once(client, "connect");
    },
    call: (action, payload) => client.callRequest(action, payload),
    answers: (action, handler) => client.on(action, (payload, reply) => reply(handler(payload))),
    close: async () => client.close?.(),
  };
});
