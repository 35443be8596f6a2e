/** Writes a conversation to a file, and reads one: an export, or a list of messages. */
import type { ConversationCreation } from '../../../client/index.ts';
import { edge } from '../../edge/client.ts';
import { model } from '../../edge/models.ts';
import { exactJson } from '../../wire/exact-json.ts';
import { tellChange } from './conversations.ts';

type Row = Record<string, unknown>;

/** The last line of an export that is complete is no longer than this, in bytes. */
const LONGEST_END = 100;
const INCOMPLETE = 'This export broke off before its end. Export the conversation again.';
const FORMS = 'Choose an export (JSON lines), or a file with a JSON list of messages.';

/** Saves a conversation as JSON lines, as its reader sees it. @throws Error if its end has not come */
export async function exportToFile(id: string, title: string): Promise<void> {
  const response = await edge().fetch(`/conversations/${encodeURIComponent(id)}/export?view=shown`);
  const lines = await response.blob();
  if (!/\n\{"type":"end",.*\}\n$/.test(await lines.slice(-LONGEST_END).text())) throw new Error(INCOMPLETE);
  saveFile(`${title.replace(/[^\p{L}\p{N}]+/gu, '-').slice(0, 60) || id}.jsonl`, lines);
}

/**
 * Makes a new conversation of a file.
 *
 * @returns its id, and a sentence that says what was left out; undefined where nothing was
 * @throws Error that says what is wrong with the file
 * @throws SluiceError if the edge refuses what is in it
 */
export async function importFromFile(file: File): Promise<{ id: string; note: string | undefined }> {
  const { title, ...history } = conversationIn(await file.text());
  const { id, dropped } = await edge().conversations.create({
    title: title ?? file.name.replace(/\.\w+$/, ''),
    ...history,
    ...(model.value ? { model: model.value.id } : {}),
  });
  await tellChange();
  const left = [
    countOf(dropped?.thinking, 'block of thinking', 'blocks of thinking'),
    countOf(dropped?.messages, 'refused or empty message', 'refused or empty messages'),
    countOf(dropped?.calls, 'call without a result', 'calls without a result'),
    countOf(dropped?.blank, 'blank text', 'blank texts'),
  ].filter((part) => part !== '');
  return {
    id,
    note: left.length === 0 ? undefined : `Imported without ${left.join(', ')}: Claude accepts them nowhere else.`,
  };
}

function countOf(count = 0, one: string, many: string): string {
  return count === 0 ? '' : `${count} ${count === 1 ? one : many}`;
}

/** @throws Error that says what is wrong with a text */
function conversationIn(text: string): Pick<ConversationCreation, 'title' | 'system' | 'messages'> {
  const list = parsedJson(text);
  const page = isRow(list) ? list.data : undefined;
  const rows = Array.isArray(list) ? list : Array.isArray(page) ? page : linesIn(text);
  const [first] = rows;
  const isExport = isRow(first) && first.type === 'conversation';
  const last = rows.at(-1);
  if (isExport && !(isRow(last) && last.type === 'end')) throw new Error(INCOMPLETE);
  const messages = (isExport ? rows.slice(1, -1) : rows) as NonNullable<ConversationCreation['messages']>;
  const own = isExport ? first : {};
  return {
    ...(messages.length > 0 ? { messages } : {}),
    ...(typeof own.title === 'string' ? { title: own.title } : {}),
    ...(own.system ? { system: own.system as NonNullable<ConversationCreation['system']> } : {}),
  };
}

function linesIn(text: string): unknown[] {
  const lines = text.split('\n').filter((line) => line.trim() !== '');
  const rows = lines.map(parsedJson);
  const wrong = rows.findIndex((row) => !isRow(row));
  if (wrong >= 0) throw new Error(`Line ${wrong + 1} of this file is not a JSON object. ${FORMS}`);
  if (rows.length === 0) throw new Error(`This file is empty. ${FORMS}`);
  return rows;
}

function parsedJson(text: string): unknown {
  try {
    return exactJson(text);
  } catch {
    // The caller says what is wrong with it.
    return undefined;
  }
}

function isRow(value: unknown): value is Row {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Hands a file to the browser, which saves it. */
function saveFile(name: string, content: Blob): void {
  const url = URL.createObjectURL(content);
  const link = document.createElement('a');
  link.href = url;
  link.download = name;
  link.click();
  // Once the click was worked on, the browser has the content by itself.
  setTimeout(() => URL.revokeObjectURL(url));
}
