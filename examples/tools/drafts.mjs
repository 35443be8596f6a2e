/** Saves the drafts of a writing assistant as files in ./drafts: a tool that the edge calls. Needs TOOL_SIGNING_SECRET. */
import { mkdir, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { Webhook } from 'standardwebhooks';

const webhook = new Webhook(process.env.TOOL_SIGNING_SECRET);

createServer(async (request, response) => {
  let body = '';
  for await (const text of request.setEncoding('utf8')) body += text;
  let call;
  try {
    call = webhook.verify(body, request.headers);
  } catch {
    return response.writeHead(401).end('This call was not signed by Sluice.');
  }
  const { title, text } = call.input;
  if (typeof title !== 'string' || typeof text !== 'string') {
    return response.writeHead(400).end('A draft needs a title and a text.');
  }
  // A call that comes again, after a crash, writes the same file.
  const path = `drafts/${title.replace(/[^\p{L}\p{N}]+/gu, '-').slice(0, 60)}.md`;
  await mkdir('drafts', { recursive: true });
  await writeFile(path, `# ${title}\n\n${text}\n`);
  response.end(`Saved as ${path}.`);
}).listen(Number(process.env.PORT ?? 3000), function () {
  console.log(`Drafts are saved at http://localhost:${this.address().port}/`);
});
