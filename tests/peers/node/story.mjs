// One charging session, told in lines of JSON. `peer` is a charge point by one of the packages:
// connect(), call(action, payload), answers(action, handler), close().
export const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");

const minute = (number) => new Date(Date.UTC(2026, 4, 4, 12, number)).toISOString();

export async function story(peer, { tag }) {
  let stopped;
  const stop = new Promise((resolve) => (stopped = resolve));
  const answer = (action, response) =>
    peer.answers(action, (payload) => {
      say({ asked: action, payload });
      return typeof response === "function" ? response(payload) : response;
    });

  answer("GetConfiguration", {
    configurationKey: [{ key: "HeartbeatInterval", readonly: false, value: "300" }],
    unknownKey: ["Colour"],
  });
  answer("ChangeConfiguration", ({ key }) => ({ status: key === "HeartbeatInterval" ? "Accepted" : "NotSupported" }));
  answer("ChangeAvailability", { status: "Scheduled" });
  answer("ClearCache", { status: "Accepted" });
  answer("DataTransfer", { status: "Accepted", data: "heard" });
  answer("GetLocalListVersion", { listVersion: 0 });
  answer("SendLocalList", { status: "Accepted" });
  answer("ReserveNow", { status: "Occupied" });
  answer("CancelReservation", { status: "Rejected" });
  answer("SetChargingProfile", { status: "Accepted" });
  answer("ClearChargingProfile", { status: "Unknown" });
  answer("GetCompositeSchedule", { status: "Rejected" });
  answer("UpdateFirmware", {});
  answer("GetDiagnostics", { fileName: "diagnostics.zip" });
  answer("UnlockConnector", { status: "NotSupported" });
  answer("Reset", { status: "Rejected" });
  answer("RemoteStartTransaction", { status: "Rejected" });
  answer("TriggerMessage", { status: "Accepted" });
  answer("RemoteStopTransaction", () => {
    stopped();
    return { status: "Accepted" };
  });

  await peer.connect();
  const boot = await peer.call("BootNotification", {
    chargePointVendor: "Peer",
    chargePointModel: peer.name,
    chargePointSerialNumber: "P-1",
    firmwareVersion: "1.0",
  });
  say({ at: "booted", status: boot.status, interval: boot.interval });
  await peer.call("Heartbeat", {});
  for (const connectorId of [0, 1]) {
    await peer.call("StatusNotification", { connectorId, errorCode: "NoError", status: "Available" });
  }
  const unknown = await peer.call("Authorize", { idTag: "NOBODY-KNOWS-ME" });
  const known = await peer.call("Authorize", { idTag: tag });
  say({ at: "authorized", unknown: unknown.idTagInfo.status, known: known.idTagInfo.status });
  const start = { connectorId: 1, idTag: tag, meterStart: 1000, timestamp: minute(0) };
  const { transactionId } = await peer.call("StartTransaction", start);
  const again = await peer.call("StartTransaction", start);
  say({ at: "started", transactionId, again: again.transactionId });
  await peer.call("StatusNotification", { connectorId: 1, errorCode: "NoError", status: "Charging" });
  for (const number of [1, 2, 3]) {
    await peer.call("MeterValues", {
      connectorId: 1,
      transactionId,
      meterValue: [
        {
          timestamp: minute(number),
          sampledValue: [
            { value: String(1000 + 120 * number), unit: "Wh", measurand: "Energy.Active.Import.Register" },
            { value: "7200.5", unit: "W", measurand: "Power.Active.Import" },
          ],
        },
      ],
    });
  }
  await peer.call("DataTransfer", { vendorId: "peer.example", messageId: "hello", data: "{}" });
  await peer.call("FirmwareStatusNotification", { status: "Idle" });
  await peer.call("DiagnosticsStatusNotification", { status: "Idle" });
  say({ at: "charging" });
  await stop;
  await peer.call("StopTransaction", {
    transactionId,
    idTag: tag,
    meterStop: 1600,
    timestamp: minute(5),
    reason: "Remote",
  });
  await peer.call("StatusNotification", { connectorId: 1, errorCode: "NoError", status: "Available" });
  say({ at: "stopped" });
  await peer.close();
  say({ at: "done" });
}

export async function run(make) {
  const { URL_BASE, IDENTITY, PASSWORD, TAG } = process.env;
  try {
    await story(make({ url: URL_BASE, identity: IDENTITY, password: PASSWORD }), { tag: TAG });
    process.exit(0);
  } catch (error) {
    say({ at: "failed", error: String(error?.stack ?? error) });
    process.exit(1);
  }
}
