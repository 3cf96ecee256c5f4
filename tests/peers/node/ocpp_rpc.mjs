// npm ocpp-rpc: checks what it sends and what it gets against the schemas of its own.
import rpc from "ocpp-rpc";
import { run } from "./story.mjs";

run(({ url, identity, password }) => {
  const client = new rpc.RPCClient({
    endpoint: url,
    identity,
    password,
    protocols: ["ocpp1.6"],
    strictMode: true,
    reconnect: false,
  });
  return {
    name: "ocpp-rpc",
    connect: () => client.connect(),
    call: (action, payload) => client.call(action, payload),
    answers: (action, handler) => client.handle(action, ({ params }) => handler(params)),
    close: () => client.close(),
  };
});
