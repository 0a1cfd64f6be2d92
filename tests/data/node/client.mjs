// Talks to the served API with OpenAI's SDK for Node, and prints what it saw as one line of JSON.
// The address and the key come from OPENAI_BASE_URL and OPENAI_API_KEY; the text that fills the buffers from stdin.
import OpenAI, { toFile } from "openai";
import { readFileSync } from "node:fs";

const client = new OpenAI({ maxRetries: 0 });
const model = "gpt-6-luna";

async function stream() {
  const events = [];
  let text = "";
  for await (const event of await client.responses.create({ model, input: "Say it long.", stream: true })) {
    events.push(event.type);
    if (event.type === "response.output_text.delta") text += event.delta;
  }
  return { events, text };
}

async function helper() {
  const deltas = [];
  const run = client.responses.stream({ model, input: "Say it long." });
  run.on("response.output_text.delta", (event) => deltas.push(event.delta));
  const final = await run.finalResponse();
  return { status: final.status, text: final.output_text, written: deltas.join("") };
}

async function fileSearch() {
  const store = await client.vectorStores.create({ name: "notes" });
  const notes = await toFile(Buffer.from("# Notes\n\nThe promised loss is 3.28.\n"), "notes.md");
  const file = await client.vectorStores.files.uploadAndPoll(store.id, notes);
  const response = await client.responses.create({
    model,
    input: "Which loss do the notes promise?",
    tools: [{ type: "file_search", vector_store_ids: [store.id] }],
    include: ["file_search_call.results"],
  });
  const call = response.output.find((item) => item.type === "file_search_call");
  const [part] = response.output.at(-1).content;
  return {
    status: file.status,
    found: call.results.map((result) => result.filename),
    text: response.output_text,
    cited: part.annotations.map((annotation) => annotation.filename),
  };
}

async function refusal() {
  try {
    await client.responses.create({ model, input: "Hello.", max_tool_calls: 1 });
  } catch (error) {
    return { name: error.constructor.name, status: error.status, param: error.param, code: error.code };
  }
}

async function leave() {
  const instructions = readFileSync(0, "utf8");
  const run = await client.responses.create({ model, input: "Say it long.", instructions, stream: true });
  for await (const event of run) return event.type; // leaving the loop aborts the request
}

const version = process.versions.node;
const seen = { version, stream: await stream(), helper: await helper(), fileSearch: await fileSearch() };
console.log(JSON.stringify({ ...seen, refusal: await refusal(), left: await leave() }));
