/**
 * Stores the classifier of this folder, tries it on questions whose labels are known, and says how often it is right.
 *
 * node examples/difficulty/evaluate.mjs [questions.jsonl]. Set SLUICE_URL and SLUICE_TOKEN for an edge that is not local.
 * Each line of the file is a question with its label: {"label": "easy", "input": "What is the capital of Australia?"}.
 */
import { readFile } from 'node:fs/promises';

const { SLUICE_URL = 'http://localhost:8787', SLUICE_TOKEN } = process.env;
/** The route takes 256. With fewer each answer comes within seconds, and a connection that breaks loses less. */
const PIECE = 50;
const NANODOLLARS = 1e9;

/** Sends JSON to the edge. Returns the answer and who gave it; throws an Error with the edge's sentence. */
async function send(method, path, body) {
  const authorization = SLUICE_TOKEN ? { authorization: `Bearer ${SLUICE_TOKEN}` } : {};
  const headers = { 'content-type': 'application/json', ...authorization };
  const response = await fetch(SLUICE_URL + path, { method, headers, body: JSON.stringify(body) });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
  return { answer: JSON.parse(text), by: response.headers.get('sluice-upstream') };
}

/** Writes US dollars with as many of nine decimals as they have, and at least two. */
function dollars(nanodollars) {
  return `$${(nanodollars / NANODOLLARS).toFixed(9).replace(/0{1,7}$/, '')}`;
}

const classifier = JSON.parse(await readFile(new URL('classifier.json', import.meta.url), 'utf8'));
const { answer: stored } = await send('PUT', '/classifiers/difficulty', classifier);

const file = process.argv[2] ?? new URL('questions.jsonl', import.meta.url);
const lines = (await readFile(file, 'utf8')).split('\n');
const questions = lines.flatMap((line, index) => {
  if (line.trim() === '') return [];
  const { label, input } = JSON.parse(line);
  return [{ id: `line ${index + 1}`, label, input }];
});

const mistakes = [];
const skipped = [];
let [nanodollars, isSimulated] = [0, false];
for (let at = 0; at < questions.length; at += PIECE) {
  const examples = questions.slice(at, at + PIECE);
  try {
    // The version that was stored, whatever the name points to by now: all pieces try the same one.
    const body = { examples, version: stored.version };
    const { answer: report, by } = await send('POST', '/classifiers/difficulty/evaluate', body);
    isSimulated ||= by === 'simulator';
    nanodollars += Math.round(report.cost_usd * NANODOLLARS);
    mistakes.push(...report.mistakes);
    skipped.push(...report.skipped);
    console.error(`${at + examples.length} of ${questions.length}`);
  } catch (error) {
    // What was measured and paid for before this piece is shown all the same.
    console.error(`It ends after ${at} questions. ${error.message}`);
    process.exitCode = 1;
    questions.length = at;
  }
}
const given = new Map(questions.map(({ id, label }) => [id, label]));
for (const { id, given: labels } of mistakes) given.set(id, labels?.[0] ?? 'no answer');
for (const { id } of skipped) given.delete(id);

/** How often each label was given, by the label that was expected. */
const matrix = Object.fromEntries(
  stored.labels.map(({ name }) => {
    const ids = questions.flatMap(({ id, label }) => (label === name ? [id] : []));
    const columns = [...stored.labels.map((label) => label.name), 'no answer'];
    return [
      name,
      Object.fromEntries(columns.map((label) => [label, ids.filter((id) => given.get(id) === label).length])),
    ];
  }),
);
const judged = given.size;
const right = judged - mistakes.length;
console.log(`${stored.version} with ${stored.model}`);
if (isSimulated) console.log('The simulator has answered: it compares words, so nothing here is true of Claude.');
console.log(`Right: ${right} of ${judged}${judged === 0 ? '' : `, ${((100 * right) / judged).toFixed(1)} %`}`);
console.log(`Cost: ${dollars(nanodollars)}`);
console.log('A line for each label expected, a column for each label given:');
console.table(matrix);
for (const { id, input, expected } of mistakes) {
  console.log(`${id} is ${expected}, was given ${given.get(id)}: ${input}`);
}
for (const { id, error } of skipped) console.log(`${id} was not asked: ${error.message}`);
if (skipped.length > 0) process.exitCode = 1;
