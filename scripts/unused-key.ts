/** The variables of a shell, or of the files and arguments that `npm start` reads. */
type Variables = Readonly<Record<string, string | undefined>>;

/**
 * Says that a key which the shell exports is not used: whoever has it there for other tools may wonder who answers.
 *
 * @param shell the variables of the shell
 * @param given what `npm start` reads: `.dev.vars`, files of `--env-file`, `--var`
 * @returns a sentence without the key; undefined where none is exported, or the same one is used
 */
export function unusedKey({ ANTHROPIC_API_KEY: exported }: Variables, given: Variables): string | undefined {
  const used = given.UPSTREAMS === undefined ? given.ANTHROPIC_API_KEY : undefined;
  if (!exported || exported === used) return undefined;
  const instead = given.UPSTREAMS
    ? 'each of UPSTREAMS has a key of its own.'
    : used
      ? 'the one in .dev.vars, --env-file or --var is.'
      : 'npm start does not read the shell. Put the line ANTHROPIC_API_KEY=… into .dev.vars, and start again.';
  return `The ANTHROPIC_API_KEY that your shell exports is not used: ${instead}`;
}
