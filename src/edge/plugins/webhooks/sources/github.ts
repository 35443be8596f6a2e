import { getMember, toStringOrUndefined } from '../../../kit/json/object.ts';
import { defineWebhook, type VerifiedWebhookRequest } from './define-webhook.ts';
import { verifyGithub } from './signatures.ts';

type GithubContentItem = Partial<Record<'id' | 'title' | 'body' | 'html_url' | 'updated_at' | 'submitted_at', unknown>>;

/** The author of a text, or the user whose action an event reports. */
interface GithubActor {
  type?: unknown;
}

/** What can be written, the most specific first: an event about a comment also contains its issue. */
export const WRITTEN_KINDS = ['comment', 'review', 'issue', 'pull_request', 'discussion'] as const;

type GithubBody = Partial<Record<(typeof WRITTEN_KINDS)[number], GithubContentItem & { user?: GithubActor }>> & {
  action?: unknown;
  /** Of an edit: the fields that it has changed, as they were before. */
  changes?: Partial<Record<'title' | 'body', unknown>>;
  sender?: GithubActor;
};

/** Actions that create or change a text. Others are ignored, so that a label set by a receiver is not a new event. */
const WRITING = new Set<unknown>(['opened', 'edited', 'created', 'submitted', undefined]);

const isBotActor = (actor?: GithubActor | null) => actor?.type === 'Bot';

/**
 * @returns the text that a person wrote: the comment if the event is about one, otherwise the issue, pull request or discussion
 */
function findAuthoredItem({
  body,
}: VerifiedWebhookRequest<GithubBody>): (GithubContentItem & { kind: string }) | undefined {
  if (!WRITING.has(body.action)) return undefined;
  const kind = WRITTEN_KINDS.find((name) => body[name]);
  const written = kind && body[kind];
  // Ignore edits that change neither the title nor the body, such as another base branch of a pull request.
  if (body.action === 'edited' && listChangedFields(body, written).length === 0) return undefined;
  // Ignore bots: a receiver that posts the label as a comment would otherwise cause an endless loop.
  return !written || isBotActor(body.sender) || isBotActor(written.user) ? undefined : { ...written, kind };
}

/** @returns the text fields that an edit has changed. Some edits name a field whose value is still the same. */
function listChangedFields({ changes }: GithubBody, item: GithubContentItem | undefined): string[] {
  return (['title', 'body'] as const).filter(
    (field) => changes?.[field] !== undefined && getMember(changes[field], 'from') !== item?.[field],
  );
}

/**
 * Identifies a text by its kind, its id and the time at which it was written; an edit also by the fields that it has changed. The
 * webhook of an app and that of a repository deliver the same event under different delivery ids.
 *
 * @returns undefined if the event does not contain its id and time
 */
function createTextId(event: VerifiedWebhookRequest<GithubBody>): string | undefined {
  const item = findAuthoredItem(event);
  const { action } = event.body;
  // Use `submitted_at` only for the submission itself: an edited review keeps it, so it would not distinguish the edit.
  const at = item?.updated_at ?? (action === 'submitted' ? item?.submitted_at : undefined);
  if (typeof item?.id !== 'number' || typeof at !== 'string') return undefined;
  const changed = action === 'edited' ? listChangedFields(event.body, item) : [];
  return [`${item.kind}-${item.id}`, at.replaceAll(':', ''), ...changed].join('-');
}

/** Issues, pull requests, discussions, and comments on them, as GitHub sends them with the content type JSON. */
export const github = defineWebhook<GithubBody>({
  source: 'github',
  verify: verifyGithub,
  // GitHub does not send larger payloads: https://docs.github.com/en/webhooks/webhook-events-and-payloads#payload-cap
  maxBodyBytes: 25 * 1024 * 1024,
  id: (event) => createTextId(event) ?? event.headers.get('x-github-delivery') ?? undefined,
  text: (event) => {
    const written = findAuthoredItem(event);
    const parts = [written?.title, written?.body].filter((part) => typeof part === 'string' && part.trim() !== '');
    return parts.length === 0 ? undefined : parts.join('\n\n');
  },
  subject: (event) => toStringOrUndefined(findAuthoredItem(event)?.html_url),
  labels: [
    { name: 'bug', description: 'Something does not work as it should.' },
    { name: 'feature', description: 'Something is wanted that does not exist yet.' },
    { name: 'question', description: 'Somebody wants to know something.' },
    { name: 'documentation', description: 'The documentation is missing, wrong or unclear.' },
    { name: 'other', description: 'None of the others.' },
  ],
});
