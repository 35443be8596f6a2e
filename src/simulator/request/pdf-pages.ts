/** @returns how many pages a base64 PDF seems to have: at least one, because compressed PDFs hide theirs */
export function countPdfPages(base64: string): number {
  let pages = 0;
  for (const _ of atob(base64).matchAll(/\/Type\s*\/Page(?![a-zA-Z])/g)) pages++;
  return Math.max(1, pages);
}
