/**
 * Runs a writing assistant in the terminal: it streams, keeps its conversation at the edge, and saves drafts.
 *
 * node examples/writing-assistant.ts [conversation]. Needs Node 24, which runs TypeScript; in this repository it is
 * node_modules/.bin/node. Set SLUICE_URL and SLUICE_TOKEN for an edge that is not local. Piped lines are sent one by one.
 * With SAVE_URL, such as that of examples/tools/drafts.mjs, the edge saves drafts itself: also when this has ended.
 * Ctrl+C stops an answer; Ctrl+D ends.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { createInterface } from 'node:readline/promises';
// In a project of your own: from 'sluice/client'.
import {
  createClient,
  type EdgeTool,
  type EdgeToolResultBlock,
  type Run,
  type RunnableTool,
  SluiceError,
} from '../src/client/index.ts';

const { SLUICE_URL = 'http://localhost:8787', SLUICE_TOKEN, SAVE_URL } = process.env;
const sluice = createClient({ baseURL: SLUICE_URL, ...(SLUICE_TOKEN ? { token: SLUICE_TOKEN } : {}) });
const conversation = process.argv[2] ?? 'writing';

const saveDraft: RunnableTool = {
  name: 'save_draft',
  description: 'Saves a draft as a file, so that the writer keeps it.',
  input_schema: {
    type: 'object',
    properties: { title: { type: 'string', minLength: 1 }, text: { type: 'string' } },
    required: ['title', 'text'],
  },
  async run({ title, text }: { title: string; text: string }) {
    const path = `drafts/${title.replace(/[^\p{L}\p{N}]+/gu, '-').slice(0, 60)}.md`;
    await mkdir('drafts', { recursive: true });
    await writeFile(path, `# ${title}\n\n${text}\n`);
    process.stdout.write(`\n[saved ${path}]\n`);
    return `Saved as ${path}.`;
  },
};

const saveAtEdge = (url: string): EdgeTool => ({ ...saveDraft, run: { url } });

/** Writes what is said, and what the edge's calls have given. */
async function show(run: Run): Promise<void> {
  for await (const event of run) {
    if (event.type === 'content_block_delta' && event.delta.type === 'text_delta') {
      process.stdout.write(event.delta.text);
    } else if (event.type === 'content_block_start') {
      // The types of the SDK do not know this block in a message.
      const block = event.content_block as unknown as EdgeToolResultBlock;
      if (block.type === 'mcp_tool_result')
        process.stdout.write(`\n[${block.content.map(({ text }) => text).join()}]\n`);
    }
  }
}

/**
 * Comes back to a conversation, and shows the running answer, if an earlier session ended during it.
 *
 * @returns results for calls that the earlier session has left without: the conversation refuses a message without them
 */
async function comeBack(): Promise<Run['owed']> {
  for await (const text of (await sluice.conversations.resume(conversation))?.textDeltas() ?? []) {
    process.stdout.write(text);
  }
  const { data } = await sluice.conversations.messages(conversation, { limit: 1_000 });
  process.stdout.write(`${data.length} messages so far.\n`);
  const content = data.at(-1)?.role === 'assistant' ? data.at(-1)?.content : [];
  const calls = Array.isArray(content) ? content.filter(({ type }) => type === 'tool_use') : [];
  const reason = { content: 'The session was ended before this was done.', is_error: true };
  return calls.map(({ id }) => ({ type: 'tool_result', tool_use_id: String(id), ...reason }));
}

let owed = await comeBack().catch((error: unknown): Run['owed'] => {
  // A conversation is created by its first message.
  if (error instanceof SluiceError && error.status === 404) return [];
  throw error;
});
let run: Run | undefined;
const terminal = createInterface({ input: process.stdin, output: process.stdout });
terminal.on('SIGINT', () => (run ? void run.stop() : terminal.close()));
// The end of piped input closes the interface while earlier lines still wait for their answers.
const isInteractive = process.stdin.isTTY;
const prompt = () => isInteractive && terminal.prompt();
terminal.on('close', () => isInteractive && run?.close());
terminal.setPrompt('> ');
prompt();
for await (const line of terminal) {
  if (line.trim() !== '') {
    run = sluice.messages.run({
      conversation,
      model: 'claude-haiku-5-5',
      max_tokens: 4_000,
      system: 'You help a writer: short answers, no flattery. Save a draft when asked to.',
      tools: [SAVE_URL ? saveAtEdge(SAVE_URL) : saveDraft],
      messages: [{ role: 'user', content: [...owed, { type: 'text', text: line }] }],
    });
    try {
      await show(run);
    } catch (error) {
      process.stdout.write(String(error));
    }
    owed = run.owed;
    process.stdout.write(`\n[$${run.costUsd.toFixed(9)} in ${run.steps.length} turns]\n`);
    run = undefined;
  }
  prompt();
}
