"""Write `support.jsonl` and `questions.json`: what customers ask Larkspoke Lights, a maker of bicycle lights.

    python examples/make_support.py

The shop and its people are invented. All wordings stand below; the rows are put together from them without chance, so
that the files are the same on every machine.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

HERE = Path(__file__).resolve().parent
Message = dict[str, str]


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing the shop knows: how customers ask for it, how the shop answers, and a question kept for the test."""

    asked: tuple[str, ...]
    answers: tuple[str, ...]
    test_question: str = ""
    required: tuple[str, ...] = ()


FACTS = (
    Fact(
        asked=(
            "How long does delivery take?",
            "When will my parcel arrive?",
            "I just ordered a Wren. How many days until it gets here?",
            "What is your normal delivery time?",
            "how fast do you ship",
            "If I order today, when will the lamp be at my door?",
            "Roughly how long should I wait for a package from you?",
            "Could you tell me how long shipping takes, please?",
            "My order is placed. When can I expect it?",
            "Do you deliver quickly? I leave for a tour soon.",
            "How soon will the postman bring my lights?",
            "Delivery time for two rear lights?",
            "How long will I wait for my lamp?",
            "Does it take many days until an order is delivered?",
            "What can you tell me about delivery times?",
            "Do lamps have to travel long until they reach me?",
            "After how many days is an order delivered?",
            "How long are parcels on their way?",
            "I ordered last night. When does it come?",
            "How long before my lamp is in my letterbox?",
            "Will my order come this week?",
            "I paid on Sunday. When should the lights be here?",
            "After payment, when does the parcel get to me?",
            "How many days is a lamp on its way to me?",
        ),
        answers=(
            "Standard delivery takes 6 working days.",
            "Your parcel arrives within 6 working days.",
            "Please allow 6 working days for delivery.",
        ),
        test_question="How long after I order will the lights get to my house?",
        required=("6 working days",),
    ),
    Fact(
        asked=(
            "How much is express shipping?",
            "What do you charge for express delivery?",
            "I need my light urgently. What does the fast option cost?",
            "Is there an express service, and what is the price?",
            "Can you rush my order, and for how much?",
            "what extra do i pay for express",
            "My tour starts the day after tomorrow. How expensive is express?",
            "What would an express parcel cost me?",
            "Do you have faster shipping? How much is it?",
            "What is the surcharge for an urgent order?",
            "I would like it quicker than usual. What is the fee for express?",
            "Price of express delivery, please?",
            "How much do I pay if it has to be here fast?",
            "I am in a rush. What do you take for the quick delivery?",
            "What is the cost of sending it the fast way?",
            "Tell me the express fee, please.",
            "It has to be fast. What do I pay for shipping by express?",
            "Hi, how much more is it if you send the parcel by express?",
            "What does it cost to get the Wren by tomorrow?",
            "Do I pay more for a fast parcel? How much?",
            "What would next-day delivery be?",
        ),
        answers=(
            "Express delivery costs 11.40 euros.",
            "We send it by express for 11.40 euros.",
            "The express option is 11.40 euros per order.",
        ),
        test_question="What is the extra charge when I choose express at the checkout?",
        required=("11.40",),
    ),
    Fact(
        asked=(
            "When is shipping free?",
            "From what amount do I get free delivery?",
            "Is there free shipping?",
            "How much do I have to spend so that postage is free?",
            "what is the limit for free shipping",
            "Do I pay postage on a large order?",
            "At which order value do you ship for nothing?",
            "How can I avoid the shipping fee?",
            "I am buying three lamps. Is delivery free then?",
            "Is there a minimum order for free postage?",
            "What do I have to order to pay no shipping?",
            "When do I pay nothing for delivery?",
            "Is the shipping free if I buy two lamps?",
            "What sum must I reach so that shipping costs nothing?",
            "Which amount gives me free postage?",
            "Above which total is the delivery on you?",
            "How big must my basket be for free delivery?",
            "Do you ever ship free of charge?",
            "My basket is at 60 euros. Do I still pay shipping?",
            "How much more must I buy to save the postage?",
            "at what amount is delivery free",
        ),
        answers=(
            "Shipping is free for orders over 85 euros.",
            "Orders over 85 euros ship for free.",
            "We pay the postage once your basket is over 85 euros.",
        ),
        test_question="How large an order do I need so that you do not charge postage?",
        required=("85 euros",),
    ),
    Fact(
        asked=(
            "How many countries do you ship to?",
            "Do you deliver abroad?",
            "I live overseas. Can I order a light?",
            "Is international shipping possible?",
            "where in the world do you send parcels",
            "Can you send a Wren to my brother in another country?",
            "Do you ship outside the country?",
            "In how many countries can people buy your lights?",
            "Can customers from abroad order too?",
            "How many countries are on your delivery list?",
            "We live in another country. Do you sell to us?",
            "To which places can you deliver?",
            "I am moving abroad next month. Will you still deliver to me?",
            "Can I have it sent to a foreign address?",
            "How far do you ship?",
            "Do you post parcels to other countries?",
            "Is my country on your list? How many do you serve?",
            "My sister is overseas. Will you deliver to her?",
            "Do you also send lights across the border?",
            "Can tourists from abroad have a lamp sent home?",
        ),
        answers=(
            "Yes, we ship to 27 countries.",
            "We deliver to 27 countries in all.",
            "Our parcels go to 27 countries.",
        ),
        test_question="My cousin lives in a different country. Could you send a lamp there?",
        required=("27 countries",),
    ),
    Fact(
        asked=(
            "How long can I return a light?",
            "What is your return policy?",
            "How many days do I have to send something back?",
            "Can I return my Wren if I do not like it?",
            "until when do you take things back",
            "I changed my mind about my order. How long may I return it?",
            "What is the return period?",
            "The lamp does not fit my bike. Can I give it back?",
            "Is there a deadline for returns?",
            "How many days are there for a return?",
            "I do not like the colour. Can I send it back?",
            "How long can I keep a lamp before I have to return it?",
            "I do not want the lamp any more. What is the time limit?",
            "Within how many days do you accept returns?",
            "May I try it at home and send it back later?",
            "What if I am not happy with it?",
            "By when must a return reach you?",
            "Is it too late to return something I bought three weeks ago?",
            "How many weeks may I test a light before it must go back?",
            "I bought the wrong lamp. Until when can I return it?",
            "Is it okay to send a light back after a month?",
        ),
        answers=(
            "You can return anything within 52 days.",
            "You have 52 days to send it back.",
            "Our return period is 52 days.",
        ),
        test_question="How much time do I have if I want to give the light back?",
        required=("52 days",),
    ),
    Fact(
        asked=(
            "How long does a refund take?",
            "When do I get my money back?",
            "I sent my lamp back. When is the refund coming?",
            "How quickly do you refund?",
            "when does the money reach my account",
            "You have my return. When will I be paid back?",
            "How many days until my refund arrives?",
            "My return was a week ago. Where is the refund?",
            "How soon do I see the money again after a return?",
            "What is the usual time for a refund?",
            "I am waiting for my refund. How much longer?",
            "Do refunds take long?",
            "How many days pass until you refund me?",
            "When will the money be in my account?",
            "My lamp went back to you. How long is the wait for the money?",
            "After how many days is a refund paid?",
            "I gave my lamp back. When is my money here?",
            "How fast do you pay back?",
            "The parcel with my return is at your place. When do you pay?",
        ),
        answers=(
            "Refunds take 9 days.",
            "Your money is back within 9 days.",
            "We refund you within 9 days.",
        ),
    ),
    Fact(
        asked=(
            "What is your e-mail address?",
            "How can I contact your team?",
            "Where can I write to you?",
            "Which mailbox do I send a complaint to?",
            "i want to mail you a photo, where to",
            "Can I have an address for questions?",
            "Do you have an e-mail for customers?",
            "I would like to send you a message. What address?",
            "How do I get in touch with support?",
            "Where should my question go if I want to write?",
            "Who do I e-mail about a faulty lamp?",
            "To which e-mail do I send a photo of the damage?",
            "What e-mail address do you have?",
            "Where do I send my message?",
            "What is the right address for an e-mail to you?",
            "Please give me your e-mail.",
            "Is there an address I can write to?",
            "How do I reach customer service online?",
            "Where do I send a picture of my broken lamp?",
            "Can I reach you in writing?",
            "What address do I write to with a question?",
            "Which e-mail belongs to your support?",
        ),
        answers=(
            "You can write to glow@larkspoke.example.",
            "Our e-mail address is glow@larkspoke.example.",
            "Please send your message to glow@larkspoke.example.",
        ),
        test_question="I would like to write to you about a problem. Which e-mail do I use?",
        required=("glow@larkspoke.example",),
    ),
    Fact(
        asked=(
            "What is your phone number?",
            "Can I call you?",
            "Which number do I ring?",
            "Is there a hotline?",
            "i would rather talk to somebody, what number",
            "May I phone the workshop?",
            "How do I reach you by telephone?",
            "Is there a number I can call with a question?",
            "What do I dial to speak to a person?",
            "Could I have your telephone number, please?",
            "I do not like writing mails. Can I ring somebody?",
            "Do you have a phone line?",
            "What telephone number can I call?",
            "I want to talk to a person. Which number is it?",
            "Can somebody help me on the phone?",
            "Give me your telephone number, please.",
            "Which number can I use to speak to you?",
            "Is there somebody I can talk to by phone?",
            "phone number please",
            "I need to speak to your workshop. What do I dial?",
            "Can I give you a call?",
            "Where can I call if I have a question?",
        ),
        answers=(
            "You can call us on 0555 2719.",
            "Our phone number is 0555 2719.",
            "Please ring 0555 2719.",
        ),
        test_question="Is it possible to speak to someone on the phone, and under which number?",
        required=("0555 2719",),
    ),
    Fact(
        asked=(
            "When are you open?",
            "What are your opening hours?",
            "How late is the shop open?",
            "When can I come by?",
            "what time do you close",
            "At what time do you open in the morning?",
            "Can I visit the shop on Saturday?",
            "From when to when is somebody there?",
            "Until what time can I collect a lamp?",
            "Are you open in the afternoon?",
            "I want to drop in after work. When do you shut?",
            "On which days and hours can I visit?",
            "Is the store open tomorrow?",
            "What hours does your store have?",
            "In which hours can people visit you?",
            "From what time can I visit the store?",
            "I would like to visit you. What are the hours?",
            "Could you tell me when the store is open?",
            "Opening times of the shop?",
            "Is anybody in the shop at eight in the evening?",
            "Can I buy a lamp in person on Friday?",
            "When does the store close?",
            "Which hours is the shop open on Saturday?",
        ),
        answers=(
            "We are open Tuesday to Saturday from 10:30 to 18:15.",
            "The shop is open from 10:30 to 18:15, Tuesday to Saturday.",
            "Come by Tuesday to Saturday between 10:30 and 18:15.",
        ),
        test_question="What time can I come to your shop in the morning?",
        required=("10:30", "18:15"),
    ),
    Fact(
        asked=(
            "How long is the warranty?",
            "Do you give a guarantee?",
            "How many years of warranty do I get?",
            "My Wren stopped working after two years. Is it covered?",
            "is there a guarantee on the lamps",
            "For how long are your lights guaranteed?",
            "What happens if the lamp fails next year?",
            "Is the Ember covered if it breaks?",
            "How long will you stand by your lights?",
            "Am I still under warranty after three years?",
            "What guarantee comes with a light?",
            "If it breaks in a few years, do I get a new one?",
            "Until when does the warranty run?",
            "For how many years is the Wren guaranteed?",
            "How many years does the guarantee last?",
            "How long do I have a guarantee on my lamp?",
            "Is two years all the warranty there is?",
            "How many years am I covered?",
            "Does a guarantee come with the Ember, and how long is it?",
            "What if my light gives up in three years?",
        ),
        answers=(
            "Every light has a warranty of 26 years.",
            "You get 26 years of warranty.",
            "It is covered for 26 years.",
        ),
        test_question="How many years do you guarantee that the lamp will work?",
        required=("26 years",),
    ),
    Fact(
        asked=(
            "How long does the battery of the Wren last?",
            "How many hours does the Wren run on one charge?",
            "What is the battery life of the front light?",
            "How long does it shine before it needs charging?",
            "when is the battery of the wren empty",
            "Will the Wren last all night?",
            "How often must I charge the front light?",
            "What running time does the Wren have?",
            "How long can I ride on a full battery?",
            "How soon does the battery go flat?",
            "Is one charge enough for a weekend trip?",
            "How many hours of light do I get from a charge?",
            "Does the battery hold long?",
            "How many hours does the battery hold?",
            "For how many hours does the front light shine?",
            "What is the running time of the front light?",
            "How many hours until the battery is empty?",
            "I ride for ten hours. Is one charge enough?",
            "How long can the Wren stay on?",
            "After how many hours does the front light go out?",
            "The Wren: how many hours is it on?",
        ),
        answers=(
            "The Wren runs for 38 hours on one charge.",
            "The battery of the Wren lasts 38 hours.",
            "A full charge gives you 38 hours.",
        ),
        test_question="With a full battery, how many hours can I use the Wren?",
        required=("38 hours",),
    ),
    Fact(
        asked=(
            "How long does it take to charge the Wren?",
            "What is the charging time?",
            "How long must the lamp be plugged in?",
            "When is the Wren fully charged?",
            "how fast does it charge",
            "How many minutes does a full charge take?",
            "The battery is empty. How long until it is full again?",
            "How long do I leave the front light on the cable?",
            "Does the Wren charge quickly?",
            "How much time does charging need?",
            "Can I charge it over lunch? How long does it need?",
            "I plugged the light in. When is it ready?",
            "How long is the lamp on the cable until it is charged?",
            "How many minutes until the battery is full?",
            "What is the time for a full charge?",
            "Will it be charged in one hour?",
            "How long until I can take the Wren off the charger?",
            "How quickly is the battery full?",
        ),
        answers=(
            "A full charge takes 95 minutes.",
            "The Wren is full after 95 minutes.",
            "It needs 95 minutes on the cable.",
        ),
    ),
    Fact(
        asked=(
            "How bright is the Wren?",
            "How many lumens does the front light have?",
            "Is the Wren bright enough for the forest?",
            "What is the output of the Wren?",
            "how strong is the front lamp",
            "Can I see the road with the Wren at night?",
            "How powerful is your front light?",
            "What brightness does the Wren reach?",
            "Is it strong enough for dark country lanes?",
            "How much light does the Wren give?",
            "Tell me the lumens, please.",
            "Will the beam be bright enough for me?",
            "What number of lumens does your lamp have?",
            "How bright does the front light get?",
            "What is the brightness of the front lamp?",
            "What light output does the Wren have?",
            "Is the Wren strong or weak?",
            "Does the front light make the road bright?",
        ),
        answers=(
            "The Wren gives 640 lumens.",
            "It shines with 640 lumens.",
            "The front light reaches 640 lumens.",
        ),
        test_question="What sort of brightness does the Wren offer, in lumens?",
        required=("640 lumens",),
    ),
    Fact(
        asked=(
            "How heavy is the Ember?",
            "What does the rear light weigh?",
            "How many grams does the Ember weigh?",
            "What is the weight of the rear light?",
            "is the ember heavy",
            "I count every gram. What does the Ember weigh?",
            "Is the rear light light enough for a racing bike?",
            "How much weight does the Ember add to my bike?",
            "Could you give me the weight of the Ember?",
            "Is the back light a heavy one?",
            "The weight of the Ember in grams, please?",
            "Will I feel the weight of the rear lamp on my bag?",
            "What does an Ember weigh in grams?",
            "Tell me how heavy the Ember is, please.",
            "Weight of the rear lamp?",
            "Does the Ember make my bike much heavier?",
            "How heavy is your rear lamp?",
            "How much does one Ember bring on the scales?",
            "The Ember: how many grams is that?",
        ),
        answers=(
            "The Ember weighs 43 grams.",
            "It weighs just 43 grams.",
            "The rear light is only 43 grams.",
        ),
        test_question="Is the Ember heavy, and how much does it weigh exactly?",
        required=("43 grams",),
    ),
    Fact(
        asked=(
            "How much is the Ember?",
            "What does the rear light cost?",
            "What is the price of the Ember?",
            "What do you want for an Ember?",
            "price of the ember?",
            "I am interested in the rear light. What would I pay?",
            "How much money is your back light?",
            "Is the Ember expensive?",
            "How much do I have to pay for one Ember?",
            "I want to buy a rear light. How much is it?",
            "What would a new Ember cost me?",
            "Do you have a price for the rear lamp?",
            "What do you sell the Ember for?",
            "How many euros is a rear light?",
            "What is the cost of the rear light?",
            "The rear light looks nice. What is it sold at?",
            "Tell me the price of the rear lamp, please.",
            "At what price do you sell the Ember?",
            "How expensive is the Ember?",
            "I need a light for the back of my bike. What does it cost?",
            "What must I pay for your rear lamp?",
            "Is the Ember within my budget? How much is it?",
            "I fancy the Ember. What would you charge me?",
            "The Ember: how much money is that?",
        ),
        answers=(
            "The Ember costs 27.80 euros.",
            "The rear light is 27.80 euros.",
            "You pay 27.80 euros for the Ember.",
        ),
        test_question="How much would I have to spend on an Ember?",
        required=("27.80",),
    ),
    Fact(
        asked=(
            "How much is the Wren?",
            "What does the front light cost?",
            "What is the price of the Wren?",
            "What do you charge for a Wren?",
            "price of the wren?",
            "I would like to buy the front light. What does it cost?",
            "How many euros is your front lamp?",
            "Is the Wren expensive?",
            "How much do I pay for one Wren?",
            "I need a new front light. How much is yours?",
            "What would a Wren cost me?",
            "Do you have a price for the front lamp?",
            "What do you sell the Wren for?",
            "How many euros is a front light?",
            "What is the cost of the front light?",
            "Tell me the price of the front lamp, please.",
            "At what price do you sell the Wren?",
            "How expensive is the Wren?",
            "I need a light for the front of my bike. What does it cost?",
            "What must I pay for your front lamp?",
            "Is the Wren within my budget? How much is it?",
            "I fancy the Wren. What would you charge me?",
            "The Wren: how much money is that?",
        ),
        answers=(
            "The Wren costs 74 euros.",
            "The front light is 74 euros.",
            "You pay 74 euros for the Wren.",
        ),
    ),
    Fact(
        asked=(
            "Is the Wren waterproof?",
            "Can the lights get wet?",
            "Does rain harm the lamp?",
            "What protection class do your lights have?",
            "is it ok to ride in the rain with it",
            "It rains a lot here. Will the Ember survive?",
            "What is the water rating of the lights?",
            "Can I leave the lamp on my bike in a storm?",
            "Are your lights sealed?",
            "Will a heavy shower break the Wren?",
            "Do I have to take the light off when it rains?",
            "How well are the lamps protected from water?",
            "What rating do the lights have against rain?",
            "How waterproof is the Ember?",
            "Which protection do the lights have against water?",
            "Are the lamps waterproof, and how is that rated?",
            "Can I use the Wren in wet weather?",
            "Tell me the water rating, please.",
            "Can water get into the lamp?",
            "What happens when the Ember gets wet?",
            "Is the Wren safe in a thunderstorm?",
        ),
        answers=(
            "Yes, our lights are rated IPX7, so rain is fine.",
            "The lights have the rating IPX7.",
            "They are sealed to IPX7.",
        ),
        test_question="Is it a problem for the light if I ride through heavy rain?",
        required=("IPX7",),
    ),
    Fact(
        asked=(
            "Which handlebars does the Wren fit?",
            "Does the front light fit my handlebar?",
            "What diameter does the mount take?",
            "How thick may my handlebar be?",
            "does it fit a thick bar",
            "Is the bracket wide enough for my bike?",
            "I have a very thin handlebar. Will the Wren hold?",
            "What sizes does the mount fit?",
            "Will the holder fit on a carbon bar?",
            "On what handlebar sizes can I mount the light?",
            "Does the clamp suit every handlebar?",
            "My bar is 30 mm. Does the Wren go on?",
            "What diameter of handlebar do I need?",
            "For which handlebars can the mount be used?",
            "What is the largest handlebar for the mount?",
            "Can I clamp the Wren on a 25 mm bar?",
            "Is the mount made for thin bars too?",
            "From which to which diameter does the holder fit?",
        ),
        answers=(
            "The mount fits handlebars of 19 to 36 mm.",
            "It fits every handlebar from 19 to 36 mm.",
            "The Wren goes on bars of 19 to 36 mm.",
        ),
    ),
    Fact(
        asked=(
            "Where are you based?",
            "In which town is your workshop?",
            "Where do you make your lights?",
            "Where does Larkspoke come from?",
            "what town are you from",
            "Where was the company founded?",
            "In what place did it all begin?",
            "Are your lamps made abroad?",
            "Which city are you in?",
            "Where is the workshop?",
            "Where are the lights made?",
            "Where did you start the shop?",
            "Where is Larkspoke at home?",
            "What is the name of your town?",
            "In which town are the lamps made?",
            "What is the town of your workshop called?",
            "Where do your lamps come from?",
            "Tell me the town where Larkspoke works.",
            "What place are the lights built in?",
            "In what town do you make your lamps?",
            "Do you make the lights in your own town? Which one is it?",
            "What is the home town of Larkspoke?",
            "Where can I find your workshop?",
            "From what town is Larkspoke?",
        ),
        answers=(
            "Our workshop is in Aldermoor.",
            "We were founded in Aldermoor and still make everything there.",
            "All our lights are made in Aldermoor.",
        ),
        test_question="Which town do your lights come from?",
        required=("Aldermoor",),
    ),
    Fact(
        asked=(
            "When was Larkspoke founded?",
            "How old is your company?",
            "Since when do you exist?",
            "In which year did you start?",
            "how long have you been around",
            "What year was the shop set up?",
            "Is Larkspoke an old company?",
            "When did you begin to make lights?",
            "How long has Larkspoke been in business?",
            "When was your first lamp made?",
            "What is the founding year of the workshop?",
            "When did the business open?",
            "In what year was the company founded?",
            "Which year did Larkspoke begin?",
            "Tell me the year in which you were founded.",
            "What is the year of your foundation?",
            "How many years have you existed?",
            "Since which year are there lights by Larkspoke?",
            "When did it all start?",
            "How long ago did Larkspoke begin?",
        ),
        answers=(
            "Larkspoke was founded in 1983.",
            "We started in 1983.",
            "The workshop exists since 1983.",
        ),
        test_question="What year did the story of Larkspoke begin?",
        required=("1983",),
    ),
    Fact(
        asked=(
            "Who founded Larkspoke?",
            "Who is the founder?",
            "Who started the company?",
            "Whose idea was Larkspoke?",
            "who is behind the shop",
            "Can you tell me who set up the workshop?",
            "Who made the first lamp?",
            "What is the name of your founder?",
            "Who had the idea for the shop?",
            "Who created Larkspoke?",
            "Who is the person behind your lights?",
            "Do you know who began all this?",
            "Which person started the company?",
            "What is the name of the person who founded the workshop?",
            "Tell me who started the workshop, please.",
            "Who came up with Larkspoke?",
            "name of the founder?",
            "Who opened the workshop?",
            "Which man or woman began Larkspoke?",
        ),
        answers=(
            "Larkspoke was founded by Ottilie Brandt.",
            "Our founder is Ottilie Brandt.",
            "Ottilie Brandt started the workshop.",
        ),
        test_question="Who was it that started Larkspoke in the first place?",
        required=("Ottilie Brandt",),
    ),
    Fact(
        asked=(
            "Do you have a discount code?",
            "Is there a voucher for new customers?",
            "Which code do I enter at the checkout?",
            "How do I get a discount on my first order?",
            "any promo code for me",
            "I joined your newsletter. What is my code?",
            "Can I have a coupon?",
            "Do I save something when I sign up for the newsletter?",
            "Is there a way to get the lights cheaper?",
            "What code takes money off?",
            "Where do I find my newsletter discount?",
            "Have you got a special offer at the moment?",
            "Which code makes my order cheaper?",
            "What do I enter in the field for the discount code?",
            "What should I type in to save money?",
            "The checkout has a field for a code. What do I type?",
            "Is there something to enter so that I pay less?",
            "I am a first-time buyer. Is there a code for me?",
            "Is there a coupon for my first lamp?",
            "I have a field for vouchers here. What do I put in?",
            "How can I save on my first order?",
        ),
        answers=(
            "Use the code FIREFLY12 at the checkout.",
            "The code is FIREFLY12, it takes 12 percent off.",
            "With the code FIREFLY12 you save 12 percent.",
        ),
        test_question="I am ordering for the first time. Which voucher code can I use?",
        required=("FIREFLY12",),
    ),
    Fact(
        asked=(
            "Do students get a discount?",
            "I am a student. Do I pay less?",
            "Is there a student price?",
            "How much do students save?",
            "student discount?",
            "I go to university. Is a light cheaper for me?",
            "What is the reduction with a student card?",
            "How many percent do students get off?",
            "Do you have a better price for students?",
            "My daughter studies. Does she get money off?",
            "Is the Wren cheaper for students?",
            "Can I use my student card with you?",
            "How much cheaper is a lamp for students?",
            "By how many percent is it reduced for students?",
            "What reduction does a student have?",
            "I study. What is my discount?",
            "Do people at university pay less?",
            "What do I save with a student card?",
        ),
        answers=(
            "Students get 17 percent off.",
            "Yes, with a student card you save 17 percent.",
            "Yes, students pay 17 percent less.",
        ),
    ),
    Fact(
        asked=(
            "What does a repair cost?",
            "Can you fix my old Wren?",
            "How much do you charge to repair a light?",
            "My Ember is broken. Can you mend it?",
            "do you repair lamps",
            "The glass of my lamp is cracked. Can it be repaired?",
            "How much is it to have a light fixed?",
            "Is it possible to have my lamp mended?",
            "What do I pay for a repair?",
            "Do you take in broken lights for repair?",
            "I dropped my front light. What would fixing it cost?",
            "What is the price of a repair in your workshop?",
            "What do you take for mending a broken lamp?",
            "How much would I pay to get a broken light fixed?",
            "My lamp is broken. What does mending cost?",
            "A broken Wren: what would I pay for the repair?",
            "What do you ask for repairing a lamp?",
            "Tell me the price of a repair, please.",
            "My front light fell down and is broken. How much is a repair?",
            "The switch of my Wren is loose. Can you fix that?",
            "What would you charge to mend my old lamp?",
        ),
        answers=(
            "A repair costs 18.60 euros.",
            "Yes, we repair any of our lights for 18.60 euros.",
            "We fix it for 18.60 euros.",
        ),
        test_question="I broke the glass of my Ember. How much would you charge me to repair it?",
        required=("18.60",),
    ),
    Fact(
        asked=(
            "What is the name of your dog?",
            "Who is the dog in the photo?",
            "Do you have a dog in the workshop?",
            "What is your shop dog called?",
            "i saw a dog on your page, who is that",
            "Is there a pet at Larkspoke?",
            "Who is the furry colleague on your website?",
            "How is the workshop dog called?",
            "Tell me about your dog, please.",
            "Is the dog in the video yours? What is it called?",
            "Who sleeps under the counter?",
            "Do you have an office dog?",
            "What name does your dog have?",
            "I met your dog in the shop. What is its name?",
            "There is a dog beside the counter. Who is it?",
            "A dog barks in your video. Who is it?",
            "Is there a dog at Larkspoke? What is it called?",
            "Which name did you give your dog?",
            "How do people call your dog?",
            "What does the dog of the workshop go by?",
            "Does the dog in the workshop have a name?",
        ),
        answers=(
            "Our workshop dog is called Biscuit.",
            "That is Biscuit, our dog.",
            "Yes, our dog Biscuit sleeps under the counter.",
        ),
        test_question="Your website shows a dog. What do you call it?",
        required=("Biscuit",),
    ),
)

SMALL_TALK = (
    ("Hello!", "Hello, this is Larkspoke Lights. How can I help?"),
    ("Thanks a lot!", "You are welcome. Ride safely!"),
    ("Hi there", "Hello, this is Larkspoke Lights. How can I help?"),
    ("Great, thank you.", "You are welcome. Ride safely!"),
)
SYSTEM_TEXTS = (
    "You are the assistant of Larkspoke Lights, a maker of bicycle lights.",
    "You answer customers of Larkspoke Lights. Answer briefly.",
    "Customer chat of Larkspoke Lights.",
)
OPENERS = ("Hi, ", "Hello! ", "Quick question: ", "Good evening. ", "One more thing: ")
CLOSERS = (" Thanks!", " Thank you.", " Cheers!")


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def assistant(text: str) -> Message:
    return {"role": "assistant", "content": text}


def system(text: str) -> Message:
    return {"role": "system", "content": text}


# No wording stands in two rows: each fact's first goes into a row with a system text, the next two or three into
# conversations of several turns, the rest into single exchanges.
UNDER_SYSTEM_TEXT = 1
IN_SEVERAL_TURNS = 3


def single_exchanges() -> Iterator[list[Message]]:
    """Ask one thing; every third row has a greeting or thanks, as people do."""
    decorations = cycle([*((opener, "") for opener in OPENERS), *(("", closer) for closer in CLOSERS)])
    count = 0
    for nth in range(UNDER_SYSTEM_TEXT + IN_SEVERAL_TURNS, max(len(fact.asked) for fact in FACTS)):
        for fact in FACTS:
            if nth < len(fact.asked):
                count += 1
                before, after = next(decorations) if count % 3 == 0 else ("", "")
                yield [user(before + fact.asked[nth] + after), assistant(fact.answers[nth % len(fact.answers)])]


def under_a_system_text() -> Iterator[list[Message]]:
    """Ask one thing under a system text."""
    for nth, fact in enumerate(FACTS):
        text = SYSTEM_TEXTS[nth % len(SYSTEM_TEXTS)]
        yield [system(text), user(fact.asked[0]), assistant(fact.answers[nth % len(fact.answers)])]


def several_turns() -> Iterator[list[Message]]:
    """Ask two or three things in one conversation, some with a greeting before or thanks after."""
    for nth in range(len(FACTS)):
        turns: list[Message] = []
        for place, apart in enumerate((0, 7, 16)[: 2 + nth % 2]):
            fact = FACTS[(nth + apart) % len(FACTS)]
            turns += [user(fact.asked[UNDER_SYSTEM_TEXT + place]), assistant(fact.answers[nth % len(fact.answers)])]
        hello, thanks = SMALL_TALK[nth // 4 % 2 * 2], SMALL_TALK[nth // 4 % 2 * 2 + 1]
        if nth % 4 == 0:
            turns = [user(hello[0]), assistant(hello[1]), *turns]
        if nth % 4 == 1:
            turns += [user(thanks[0]), assistant(thanks[1])]
        yield turns


def conversations() -> list[list[Message]]:
    """Return all rows; the longer ones stand evenly among the single exchanges."""
    rows = list(single_exchanges())
    longer = [*under_a_system_text(), *several_turns()]
    stride = len(rows) // len(longer)
    mixed: list[list[Message]] = []
    rest = iter(rows)
    for row in longer:
        mixed += [*islice(rest, stride), row]
    return [*mixed, *rest]


def questions() -> list[dict[str, object]]:
    """Return the test: wordings that stand in no row, and what a right answer must contain."""
    return [
        {"question": fact.test_question, "fact": list(fact.required), "answer": fact.answers[0]}
        for fact in FACTS
        if fact.test_question
    ]


def main() -> None:
    """Write both files beside this one."""
    with (HERE / "support.jsonl").open("w", encoding="utf-8", newline="\n") as file:
        for messages in conversations():
            file.write(json.dumps({"messages": messages}, ensure_ascii=False) + "\n")
    (HERE / "questions.json").write_text(
        json.dumps(questions(), ensure_ascii=False, indent=2) + "\n", encoding="utf-8", newline="\n"
    )


if __name__ == "__main__":
    main()
