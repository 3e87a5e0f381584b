// The team page: nothing here decides who may do what. It asks the endpoints, which do.

const RANK = { owner: 4, admin: 3, member: 2, guest: 1, viewer: 0, editor: 0 };
const FORTNIGHT = 14 * 24 * 60 * 60 * 1000;
const PROBLEMS = {
  "conflict.sole_owner": "Somebody has to own the organization: make another member an owner first.",
  "conflict.seat_limit": "All seats are taken.",
  "conflict.duplicate_membership": "They are a member already.",
  "conflict.invitation_not_pending": "The invitation has been answered or withdrawn.",
  "conflict.invitation_expired": "The invitation's time is over.",
  "precondition.identifier_format": "This is no e-mail address.",
  not_found: "There is no such thing, for you.",
  forbidden: "You may not do this.",
};

const $ = (id) => document.getElementById(id);
let email = sessionStorage.getItem("email");
let orgId = sessionStorage.getItem("org");

async function ask(method, path, body) {
  const headers = { Authorization: `Bearer ${email ?? ""}` };
  if (body) headers["Content-Type"] = "application/json";
  const response = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
  const answer = await response.json().catch(() => ({}));
  if (response.ok) return answer;
  const problem = new Error(PROBLEMS[answer.code] ?? answer.message ?? response.statusText);
  throw Object.assign(problem, { status: response.status });
}

async function list(path) {
  const found = [];
  for (let cursor = ""; cursor !== null; ) {
    const { data, page } = await ask("GET", `${path}?limit=200${cursor && `&cursor=${cursor}`}`);
    found.push(...data);
    cursor = page.next_cursor;
  }
  return found;
}

// What users write gets into the page as text, and never as HTML.
function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

const button = (label, action) => element("button", { onclick: () => run(action) }, label);
const roles = (mine) => Object.keys(RANK).filter((role) => RANK[role] <= RANK[mine]);
const options = (mine) =>
  roles(mine).map((role) => element("option", { defaultSelected: role === "member" }, role));
const later = () => ({ expires_at: new Date(Date.now() + FORTNIGHT).toISOString() });
const day = (time) => new Date(time).toLocaleDateString();

async function run(action) {
  $("problem").textContent = "";
  try {
    await action();
  } catch (problem) {
    $("problem").textContent = problem.message;
  }
  await show();
}

function memberItem(member, mine, names) {
  const members = `/tenancy/orgs/${orgId}/members/${member.id}`;
  const name = names[member.usr_id] ?? member.usr_id;
  const own = member.id === mine.id;
  const within = RANK[mine.role] >= RANK.admin && RANK[member.role] <= RANK[mine.role];
  const parts = [];
  if (within && member.status === "active") {
    const select = element("select", { ariaLabel: `Role of ${name}` }, ...options(mine.role));
    select.value = member.role;
    select.onchange = () =>
      run(() => ask("POST", `${members}/change-role`, { new_role: select.value }));
    parts.push(select);
  } else {
    parts.push(element("span", {}, member.role));
  }
  if (own) {
    parts.push(button("Leave", () => ask("POST", `${members}/self-leave`)));
  } else if (within && 0 < RANK[member.role] && RANK[member.role] < RANK.owner) {
    parts.push(button("Remove", async () => {
      if (confirm(`Remove ${name}?`)) await ask("POST", `${members}/admin-remove`);
    }));
  }
  const note = own ? "you" : member.status === "active" ? "" : member.status;
  return element("li", {}, element("span", {}, name, element("small", {}, note)), ...parts);
}

function invitationItem(invitation) {
  const path = `/tenancy/invitations/${invitation.id}`;
  const state = `${invitation.role}, ${invitation.effective_status}, until ${day(invitation.expires_at)}`;
  return element(
    "li", {},
    element("span", {}, invitation.identifier, element("small", {}, state)),
    element("a", { href: `#${invitation.id}` }, "Link"),
    button("Resend", () => ask("POST", `${path}/renew`, later())),
    button("Withdraw", () => ask("POST", `${path}/revoke`)),
  );
}

async function showTeam(mine) {
  const org = `/tenancy/orgs/${orgId}`;
  const [seats, members, names] = await Promise.all([
    ask("GET", `${org}/seats`), list(`${org}/members`), ask("GET", `/${orgId}/people`),
  ]);
  $("title").textContent = mine.organization.name;
  $("seats").textContent =
    seats.limit === null ? `${seats.taken} seats taken` : `${seats.taken} of ${seats.limit} seats taken`;
  const present = members.filter((member) => member.status !== "revoked");
  $("members").replaceChildren(...present.map((member) => memberItem(member, mine, names)));
  $("manage").hidden = RANK[mine.role] < RANK.admin;
  if ($("manage").hidden) return;
  const invitations = await list(`${org}/invitations`);
  const pending = invitations.filter((invitation) => invitation.status === "pending");
  $("invitations").replaceChildren(...pending.map(invitationItem));
  const chosen = $("role").value;
  $("role").replaceChildren(...options(mine.role));
  if (roles(mine.role).includes(chosen)) $("role").value = chosen;
}

async function showPreview() {
  const invId = location.hash.slice(1);
  $("preview").hidden = !invId.startsWith("inv_");
  if ($("preview").hidden) return;
  const offer = await ask("GET", `/tenancy/invitations/${invId}/preview`);
  const from = offer.inviter_name ? ` by ${offer.inviter_name}` : "";
  const open = offer.effective_status === "pending";
  $("offer").textContent = open
    ? `To ${offer.org_name}${from}, as ${offer.role}, until ${day(offer.expires_at)}.`
    : `This invitation to ${offer.org_name} is ${offer.effective_status}.`;
  $("accept").hidden = $("decline").hidden = !open || !email;
}

async function answer(invId, word) {
  await ask("POST", `/tenancy/invitations/${invId}/${word}`);
  if (location.hash === `#${invId}`) history.replaceState(null, "", location.pathname);
}

async function show() {
  $("sign-in").hidden = Boolean(email);
  $("signed-in").hidden = $("organizations").hidden = !email;
  $("who").textContent = email ?? "";
  $("inbox").hidden = $("team").hidden = true;
  try {
    await showPreview();
    if (!email) return;
    const [offers, memberships] = await Promise.all([
      list("/tenancy/me/invitations"), list("/tenancy/me/memberships"),
    ]);
    $("inbox").hidden = offers.length === 0;
    $("offers").replaceChildren(...offers.map(({ id, role, organization }) => element(
      "li", {}, element("span", {}, `${organization.name}, as ${role}`),
      button("Accept", () => answer(id, "accept")), button("Decline", () => answer(id, "decline")),
    )));
    const own = memberships.filter(({ status }) => status === "active");
    $("switcher").replaceChildren(...own.map(({ org_id, organization }) => {
      const choice = button(organization.name, () => { sessionStorage.setItem("org", orgId = org_id); });
      if (org_id === orgId) choice.setAttribute("aria-current", "true");
      return choice;
    }));
    const mine = own.find(({ org_id }) => org_id === orgId);
    $("team").hidden = !mine;
    if (mine) await showTeam(mine);
  } catch (problem) {
    $("problem").textContent = problem.message;
  }
}

function onSubmit(id, action) {
  $(id).onsubmit = (event) => {
    event.preventDefault();
    run(async () => {
      await action();
      event.target.reset();
    });
  };
}

onSubmit("sign-in", async () => {
  const given = $("email").value;
  await ask("POST", "/accounts", { email: given }).catch((problem) => {
    if (problem.status !== 409) throw problem; // they have an account
  });
  sessionStorage.setItem("email", email = given); // as good as a password, in this example
});
onSubmit("create", async () => {
  const { org } = await ask("POST", "/tenancy/orgs", { name: $("name").value });
  sessionStorage.setItem("org", orgId = org.id);
});
onSubmit("invite", () => ask("POST", `/tenancy/orgs/${orgId}/invitations`, {
  identifier: $("invitee").value, role: $("role").value, ...later(),
}));
$("sign-out").onclick = () => {
  sessionStorage.clear();
  email = orgId = null;
  run(() => {});
};
$("accept").onclick = () => run(() => answer(location.hash.slice(1), "accept"));
$("decline").onclick = () => run(() => answer(location.hash.slice(1), "decline"));
window.onhashchange = () => run(() => {});
show();
