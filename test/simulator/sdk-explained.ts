/**
 * What of the installed SDK the simulator does not judge as the API would, and why. A type's own members and variants stand behind
 * its name; several types with the same ones stand together. The beta’s types are named as the others, without “Beta”.
 */

/** What stands in all types, and is asked for in these tests by a name that only a beta takes: `output_format`. */
export const OLD_NAMES: Readonly<Record<string, string>> = { JSONOutputFormat: 'schema type' };

/** What the SDK has in its beta types alone, and the simulator takes without a beta. */
export const OPEN: readonly { what: RegExp; why: string }[] = [
  { what: /^AnthropicBeta |^\w+ betas$/, why: 'They go up as a header.' },
  {
    what: /^RequestDocumentBlock|ToolResultErrorParam\.error_code |^MessageCountTokensParams\.tools /,
    why: 'The other types have the same by another name.',
  },
  { what: /^SystemMessageParam\.content text$/, why: 'The other types have a text there, too.' },
];

/** Where the simulator takes anything. */
export const UNJUDGED: Readonly<Record<string, string>> = {
  // A JSON schema may have members of its own.
  'Tool.InputSchema': 'type properties required',
};

/** What the simulator refuses in any request of a test. */
export const REFUSED: readonly { what: RegExp; why: string }[] = [
  {
    what: /^Model claude-mythos-preview: 404 /,
    why: 'No price list names it, so it is not in the table of models. Who has it adds it with PRICES.',
  },
  {
    what: /^(?:ContentBlockParam redacted_thinking|RedactedThinkingBlockParam \w+): 400 .*Invalid `data`/,
    why: 'Its data is sealed by whoever has made it, and this was nobody.',
  },
  {
    what: /^(?:\S+\.thread continue|ThreadContinueParams \w+): 40[04] .*no usable Thread state/,
    why: 'The simulator keeps no threads. The official client sends everything again.',
  },
];

/**
 * What queries and forms have. Neither the edge nor the simulator refuses others there, so whoever updates the SDK looks at
 * what is new.
 */
export const BESIDE_BODIES: Readonly<Record<string, string>> = {
  'models.list': 'limit before_id after_id lifecycle',
  // A scope is a session, and there are none: all files of the account are listed.
  'files.list': 'limit page ids scope_id',
  'files.upload': 'file expires_in_seconds',
  'messages.batches.list': 'limit before_id after_id',
  'messages.batches.create': 'requests',
};
