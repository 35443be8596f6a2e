/** Hides what the edge's tools were given and what they gave back: most bound tokens only see that a tool was called. */

import { type Json, parseObject } from '../../json/object.ts';

/** What the model wrote for whoever asks. A `tool_use` is a call that the page itself answers. */
const OF_MODEL = /^(text|(redacted_)?thinking|tool_use|fallback)$/;
/** Members of a block that say which call it is, and whether it failed. */
const TOLD = /^(type|id|name|server_name|tool_use_id|is_error|caller)$/;
/** Members by which clients know the form of a result. The API says them, never a tool. */
const FORM = /^(type|media_type|error_code)$/;

/** @returns whether a block shows what a tool of the edge or of the API was given, or what came back. */
export function isHiddenBlock({ type }: Json): boolean {
  return !OF_MODEL.test(String(type));
}

/** @returns a block without what a tool was given and gave back. It keeps its type and its form, so that clients accept it. */
export function hiddenBlock(block: Json): Json | undefined {
  // A citation quotes what a tool has found.
  if (!isHiddenBlock(block)) return block.citations ? { ...block, citations: [] } : block;
  const text = JSON.stringify(block, function blank(this: unknown, name, value) {
    if ((this === block ? TOLD : FORM).test(name)) return value;
    if (Array.isArray(value)) return [];
    if (typeof value === 'string') return '';
    // Whether a program failed, but not how.
    if (typeof value === 'number') return Number(name === 'return_code' && value !== 0);
    return name === 'input' ? {} : value === true ? false : value;
  });
  return parseObject(text);
}
